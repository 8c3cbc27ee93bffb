"""One file for everything: the tables of `tryage.toml`, how it is found, checked and written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.config.find import find_config as find_config
    from tryage.config.load import LoadedConfig as LoadedConfig
    from tryage.config.load import load_config as load_config
    from tryage.config.policy_schema import AnswerCacheTable as AnswerCacheTable
    from tryage.config.policy_schema import BudgetTable as BudgetTable
    from tryage.config.policy_schema import CascadeTable as CascadeTable
    from tryage.config.policy_schema import EraseAndCheckTable as EraseAndCheckTable
    from tryage.config.policy_schema import GuaranteeTable as GuaranteeTable
    from tryage.config.policy_schema import HedgeTable as HedgeTable
    from tryage.config.policy_schema import OwnPolicyTable as OwnPolicyTable
    from tryage.config.policy_schema import QualityGapTable as QualityGapTable
    from tryage.config.policy_schema import RulesTable as RulesTable
    from tryage.config.policy_schema import ThresholdTable as ThresholdTable
    from tryage.config.schema import ChatTable as ChatTable
    from tryage.config.schema import Config as Config
    from tryage.config.schema import ExplorationTable as ExplorationTable
    from tryage.config.schema import ModelTable as ModelTable
    from tryage.config.schema import PreferencesTable as PreferencesTable
    from tryage.config.schema import RouterTable as RouterTable
    from tryage.config.schema import RuleTable as RuleTable
    from tryage.config.schema import ServerTable as ServerTable
    from tryage.config.schema import TrafficTable as TrafficTable
    from tryage.config.schema_file import json_schema as json_schema
    from tryage.config.write import model_table as model_table
    from tryage.config.write import preferences_table as preferences_table
    from tryage.config.write import to_toml as to_toml

_MODULES = {
    "AnswerCacheTable": "tryage.config.policy_schema",
    "BudgetTable": "tryage.config.policy_schema",
    "CascadeTable": "tryage.config.policy_schema",
    "ChatTable": "tryage.config.schema",
    "Config": "tryage.config.schema",
    "EraseAndCheckTable": "tryage.config.policy_schema",
    "ExplorationTable": "tryage.config.schema",
    "GuaranteeTable": "tryage.config.policy_schema",
    "HedgeTable": "tryage.config.policy_schema",
    "LoadedConfig": "tryage.config.load",
    "ModelTable": "tryage.config.schema",
    "OwnPolicyTable": "tryage.config.policy_schema",
    "PreferencesTable": "tryage.config.schema",
    "QualityGapTable": "tryage.config.policy_schema",
    "RouterTable": "tryage.config.schema",
    "RuleTable": "tryage.config.schema",
    "RulesTable": "tryage.config.policy_schema",
    "ServerTable": "tryage.config.schema",
    "ThresholdTable": "tryage.config.policy_schema",
    "TrafficTable": "tryage.config.schema",
    "find_config": "tryage.config.find",
    "json_schema": "tryage.config.schema_file",
    "load_config": "tryage.config.load",
    "model_table": "tryage.config.write",
    "preferences_table": "tryage.config.write",
    "to_toml": "tryage.config.write",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
