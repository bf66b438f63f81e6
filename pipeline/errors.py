"""The two ways in which a command ends other than well."""


class UserError(Exception):
    """A mistake of the user or of the world: one line that says what, where and what to do."""

    status = 2


class RefusedError(Exception):
    """The pipeline works, but the model may not be released."""

    status = 1
