"""Flags in the prompt, read into preferences: a small grammar and nothing else.

A flag is a bracket such as `[Flag: smallest model]` or `[Flag: size<3B, license=mit|apache-2.0]`.
Case does not count and blanks may stand between any two tokens.

    flag     = "[" "flag" ":" item { "," item } "]" ;              (* at most 500 characters *)
    item     = natural | weight | bound | words | since ;
    natural  = [ "the" ] wish [ "model" | "expert" | "answer" | "one" | "llm" ] ;
    wish     = "smallest" | "newest" | "cheapest" | "fastest" | "safest" | "most popular"
             | "concise" | "readable" | "most accurate" | synonym ;      (* see items.WISHES *)
    weight   = ( "size" | "recency" | "security" | "verbosity" | "readability" | "cost"
               | "latency" | "popularity" ) "=" decimal ;                (* 0 to 1000 *)
    bound    = ( "size" | "cost" | "latency" | "context" | "downloads" | "security"
               | "readability" | "verbosity" ) ( "<" | "<=" | ">" | ">=" ) number ;
    words    = ( "license" | "licence" | "model" ) "=" word { "|" word }  (* any of them *)
             | "needs" "=" capability { "|" capability } ;                (* all of them *)
    since    = "since" "=" year [ "-" month [ "-" day ] ] ;
    number   = [ "$" ] decimal [ unit ] ;
    decimal  = digits [ "." digits ] [ "e" [ "+" | "-" ] digits ] ;
    unit     = "k" | "m" | "b" | "t"       (* size, context, downloads, verbosity: 1e3 .. 1e12 *)
             | "s" | "ms" | "usd" ;        (* latency; cost *)
    word     = character { character } ;   (* none of , | [ ] < > = *)

Meaning. A weight or a natural wish sets how much a constraint counts; a wish uses
`NATURAL_WEIGHT`. A bound, words or a date is a requirement. Everything in a prompt adds up: the
largest weight of each constraint and every requirement. "most accurate" drops the weights that
the flags of the same prompt ask for. What a flag says is meant for `Preferences.tightened`, so it
can never loosen what the operator set.

A bracket is a flag as a whole or not at all: one malformed item leaves it in the text, with a
warning, or raises `FlagError` in strict mode.
"""

from __future__ import annotations

from tryage.flags.extraction import MAX_ITEMS, Extracted, extract
from tryage.flags.items import CAPABILITIES, MAX_WEIGHT, NATURAL_WEIGHT

__all__ = [
    "CAPABILITIES",
    "MAX_ITEMS",
    "MAX_WEIGHT",
    "NATURAL_WEIGHT",
    "Extracted",
    "extract",
]
