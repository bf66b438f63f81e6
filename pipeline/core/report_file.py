"""Reports as files. A report of another schema is rejected as a whole.

A report contains the version of its schema. A report of another version, or with an unknown key, a
missing key or a wrong type, is not read.
"""

import json
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.core.errors import UserError
from pipeline.core.files import REPRO, read_json, write_json


class OtherVersionError(UserError):
    """A report has another schema version."""


class Report(BaseModel):
    """A JSON file with exactly these keys and types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a report. UserError if the file is missing, broken or of another schema."""
        content = read_json(path)
        version = cls.model_fields.get("schema_version")
        if version is not None and isinstance(content, dict):
            found = content.get("schema_version")
            if found != version.default:
                known = f"schema version {json.dumps(found)[:40]}" if found is not None else None
                raise OtherVersionError(
                    f"{path} has {known or 'no schema version'}, but this code reads "
                    f"{version.default}{REPRO}"
                )
        try:
            # strict mode accepts a list as a tuple only from JSON
            return cls.model_validate_json(json.dumps(content))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = [str(path), ".".join(map(str, first["loc"])), first["msg"]]
            raise UserError(f"{': '.join(filter(None, where))}{REPRO}") from error

    def write(self, path: Path) -> None:
        """Write the report atomically."""
        write_json(path, self.model_dump(mode="json"))
