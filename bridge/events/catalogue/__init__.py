"""The catalogue of business events: every type's name, description, JSON Schema of its `data`, and example.

MachShop's and Eryxon's types are in the JSON files beside this module, a user's in the file that
`events.catalogue` names, in the same form:

    {"types": {"maintenance.requested": {
        "description": "A machine needs somebody", "schema": {…}, "example": {"machine": "saw 2"}}}}

Only names are required. A type of the user's file replaces one of the same name. Where MachShop and Eryxon
have a type of the same name, data of either form is right.
"""

from __future__ import annotations

from bridge.events.catalogue.check import Checker, Problem
from bridge.events.catalogue.load import (
    MAX_NAME,
    Catalogue,
    CatalogueError,
    DomainType,
    load,
    valid_name,
)

__all__ = [
    "MAX_NAME",
    "Catalogue",
    "CatalogueError",
    "Checker",
    "DomainType",
    "Problem",
    "load",
    "valid_name",
]
