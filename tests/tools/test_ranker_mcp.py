"""Tools of an MCP server on the loopback device are ranked, chosen and called like others."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time

import pytest

pytest.importorskip("mcp.server.mcpserver")

import uvicorn
from mcp import Client
from mcp.server.mcpserver import MCPServer

from tryage.tools import Tool

RAIN = "Will it rain in Rome tomorrow?"


def get_weather(city: str) -> str:
    """Current weather of a city."""
    return f"sunny in {city}"


def stock_price(symbol: str) -> str:
    """Price of a share on the stock exchange."""
    return f"{symbol} costs 7"


def send_mail(to: str, text: str) -> str:
    """Send an e-mail to somebody."""
    return f"sent to {to}: {text}"


@contextlib.contextmanager
def serving(server: MCPServer):
    """Serve over streamable HTTP on a free port of the loopback device; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = server.streamable_http_app()
        running = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        while not running.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        finally:
            running.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def address():
    server = MCPServer("town", log_level="ERROR")
    for tool in (get_weather, stock_price, send_mail):
        server.tool()(tool)
    with serving(server) as url:
        yield url


async def list_tools(client: Client):
    return (await client.list_tools()).tools


@pytest.mark.parametrize("by_alias", [False, True], ids=["python", "wire"])
async def test_a_tool_of_a_server_is_read_with_its_arguments(address, by_alias):
    async with Client(address) as client:
        schemas = [tool.model_dump(by_alias=by_alias) for tool in await list_tools(client)]
    read = {tool.name: tool for tool in map(Tool.from_schema, schemas)}
    assert set(read) == {"get_weather", "stock_price", "send_mail"}
    assert read["get_weather"].description == "Current weather of a city."
    assert list(read["send_mail"].arguments) == ["to", "text"]


async def test_the_chosen_tool_can_be_called(address, bundled):
    async with Client(address) as client:
        tools = [Tool.from_schema(tool.model_dump()) for tool in await list_tools(client)]
        (best,) = bundled.select(tools, RAIN, k=1).tools
        answer = await client.call_tool(best.name, {"city": "Rome"})
    assert answer.content[0].text == "sunny in Rome"


async def test_tools_of_a_server_and_own_tools_are_ranked_together(address, bundled):
    own = Tool("translate", "Translate a text into another language")
    async with Client(address) as client:
        theirs = [
            Tool.from_schema(tool.model_dump(), risk=0.5) for tool in await list_tools(client)
        ]
    tools = [own, *theirs]
    assert bundled.select(tools, "Translate hello into French", 1).names == ("translate",)
    assert bundled.select(tools, RAIN, 1).tools[0].risk == 0.5


async def test_an_agent_of_langchain_uses_the_tools_of_a_server(address):
    pytest.importorskip("langchain.agents")
    from langchain.agents import create_agent
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.tools import StructuredTool

    from tryage_langchain import TryageToolSelectorMiddleware

    shown = []

    class Caller(GenericFakeChatModel):
        def bind_tools(self, tools, **_):
            shown.append([tool.name for tool in tools])
            return self

    def wrap(client, tool):
        async def call(**arguments):
            return (await client.call_tool(tool.name, arguments)).content[0].text

        return StructuredTool(
            name=tool.name,
            description=tool.description,
            args_schema=tool.input_schema,
            coroutine=call,
        )

    call = {"name": "get_weather", "args": {"city": "Rome"}, "id": "1"}
    model = Caller(messages=iter([AIMessage("", tool_calls=[call]), AIMessage("Sunny.")]))
    async with Client(address) as client:
        tools = [wrap(client, tool) for tool in await list_tools(client)]
        agent = create_agent(model, tools, middleware=[TryageToolSelectorMiddleware(k=1)])
        state = await agent.ainvoke({"messages": [("user", RAIN)]})
    assert shown == [["get_weather"]] * 2
    assert state["messages"][-2].content == "sunny in Rome"


async def test_several_clients_of_one_server_may_choose_at_once(address, bundled):
    async def choose():
        async with Client(address) as client:
            tools = [Tool.from_schema(tool.model_dump()) for tool in await list_tools(client)]
            return bundled.select(tools, RAIN, k=1).names

    assert await asyncio.gather(*(choose() for _ in range(4))) == [("get_weather",)] * 4
