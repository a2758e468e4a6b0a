"""What every stored value has in common."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen value, read tolerantly; errors never quote what was read."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)
