"""Why a picture is not classified, although it can be read."""


class RefusedPicture(ValueError):  # noqa: N818 (it is an answer, not an error)
    """A picture shows no single character; `verdict` is `no ink` or `several`."""

    def __init__(self, verdict: str, reason: str) -> None:
        super().__init__(reason)
        self.verdict = verdict
