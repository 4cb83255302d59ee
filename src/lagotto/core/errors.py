"""Every error Lagotto raises on purpose, in one tree.

::

    LagottoError                     HTTP 500   base class; nothing raises it directly
    |-- InvalidInputError            HTTP 400   also a ValueError: a text, argument or request is wrong
    |   `-- TextTooLongError         HTTP 400   a text exceeds the length limit and truncation is "error"
    |-- ModelNotFoundError           HTTP 404   no such model, or a file of it is not there
    |-- ModelNotAllowedError         HTTP 404   the server's operator did not allow this model
    |-- AuthenticationError          HTTP 401   a request carries no API key, or none that is known and valid
    |-- PermissionDeniedError        HTTP 403   the API key does not allow this
    |-- UnsupportedModelError        HTTP 501   the model is known but this version or machine can't run it
    |-- CheckpointError              HTTP 500   the model's files contradict each other or are damaged
    |   `-- UnsafeWeightsError       HTTP 500   a pickle file asks for something other than tensors
    |-- MissingDependencyError       HTTP 500   an optional package is needed; names the extra to install
    |-- ConfigError                  HTTP 500   a setting, flag or settings file is wrong
    |-- OutOfMemoryError             HTTP 503   also a MemoryError: one text alone does not fit the device's memory
    |-- ClosedError                  HTTP 503   the model or server has been closed
    |-- CallCancelledError           HTTP 499   the caller took the call back, or its connection ended
    |-- DeadlineExceededError        HTTP 504   also a TimeoutError: not computed within the time it was given
    |-- EndpointError                HTTP 502   another machine's LLM can't be reached, refuses, or fails
    |   |-- EndpointBusyError        HTTP 503   it has too much to do; says when to come again if it told
    |   |-- EndpointTimeoutError     HTTP 504   no answer of it came in time
    |   `-- MalformedAnswerError     HTTP 502   an LLM's answer has not the form that was asked for
    `-- TemporaryError               HTTP 503   not now; says after how many seconds to come again
        |-- OverloadedError          HTTP 429   more work is waiting than the server takes
        |-- RateLimitError           HTTP 429   the API key has used up its requests or tokens of this minute
        |-- ModelLoadingError        HTTP 503   the model is still being loaded
        |-- EngineError              HTTP 503   the engine failed in the midst of a batch; others go on
        `-- MemoryBudgetError        HTTP 503   the models in use leave no room for another one

Messages say what came, what is allowed and what to do about it.
"""

from __future__ import annotations

from typing import ClassVar


class LagottoError(Exception):
    """Base class of every error raised by Lagotto on purpose."""

    status: ClassVar[int] = 500
    """HTTP status a server answers with when the error reaches a client."""
    code: ClassVar[str] = "internal_error"
    """Short machine-readable name, sent as ``error.code`` over HTTP."""


class InvalidInputError(LagottoError, ValueError):
    """A text, an argument or a request is wrong; the caller can mend it."""

    status = 400
    code = "invalid_input"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        """Name of the argument or field at fault, where there is one."""


class TextTooLongError(InvalidInputError):
    """A text is longer than the limit and the truncation policy is ``"error"``, or a span was cut off with its end."""

    code = "context_length_exceeded"


class ModelNotFoundError(LagottoError):
    """No such model, or one of its files is not where it was looked for."""

    status = 404
    code = "model_not_found"


class ModelNotAllowedError(LagottoError):
    """The server's operator did not allow this model."""

    status = 404
    code = "model_not_found"


class AuthenticationError(LagottoError):
    """A request carries no API key, or none that is known and valid."""

    status = 401
    code = "invalid_api_key"


class PermissionDeniedError(LagottoError):
    """The API key is valid, but does not allow what was asked."""

    status = 403
    code = "permission_denied"


class UnsupportedModelError(LagottoError):
    """The model is known, but this version or this machine cannot run it."""

    status = 501
    code = "model_not_supported"


class CheckpointError(LagottoError):
    """The files of a checkpoint contradict each other, are damaged or incomplete."""

    code = "checkpoint_error"


class UnsafeWeightsError(CheckpointError):
    """A pickle file asks for something other than tensors and was not executed."""

    code = "unsafe_weights"


class MissingDependencyError(LagottoError, ImportError):
    """An optional package is needed; the message names the extra to install."""

    code = "missing_dependency"


class ConfigError(LagottoError, ValueError):
    """A setting, a command-line flag or a settings file is wrong."""

    code = "invalid_setting"


class OutOfMemoryError(LagottoError, MemoryError):
    """One text (or pair) alone does not fit the device's memory; the message says how long it is and what to do."""

    status = 503
    code = "out_of_memory"


class ClosedError(LagottoError):
    """The model or the server has been closed."""

    status = 503
    code = "closed"


class CallCancelledError(LagottoError):
    """The caller took the call back, or its connection ended, before everything was computed."""

    status = 499
    code = "cancelled"


class DeadlineExceededError(LagottoError, TimeoutError):
    """A call was not computed within the time it was given; what had not started was dropped."""

    status = 504
    code = "timeout"


class EndpointError(LagottoError):
    """A chat endpoint can't be reached, refuses, or fails, after all retries; says what came and what to do."""

    status = 502
    code = "endpoint_failed"

    def __init__(self, message: str, *, endpoint_status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.endpoint_status = endpoint_status
        """HTTP status the endpoint answered with; None where no answer came."""
        self.retry_after = retry_after
        """Seconds after which it wants to be asked again; None where it did not say."""


class EndpointBusyError(EndpointError):
    """A chat endpoint has too much to do, or its limits are used up, after all retries."""

    status = 503
    code = "endpoint_busy"


class EndpointTimeoutError(EndpointError):
    """A chat endpoint gave no answer within the time of a try, after all retries."""

    status = 504
    code = "endpoint_timeout"


class MalformedAnswerError(EndpointError):
    """What a language model answered has not the form that was asked for, however often it was asked."""

    code = "malformed_answer"


class TemporaryError(LagottoError):
    """Not now, but later: base class of the errors that say when to come again."""

    status = 503
    code = "unavailable"

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds after which the same call is likely to be taken."""


class OverloadedError(TemporaryError):
    """More work is waiting than the server takes, or than can be done before the call's deadline."""

    status = 429
    code = "overloaded"


class RateLimitError(TemporaryError):
    """The API key has used up the requests or tokens it may send in a minute."""

    status = 429
    code = "rate_limit_exceeded"


class ModelLoadingError(TemporaryError):
    """The model is still being loaded."""

    code = "model_loading"


class EngineError(TemporaryError):
    """The engine failed in the midst of a batch, or a process of it died; only the calls of that batch hear of it."""

    code = "engine_failed"

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message, retry_after=retry_after)


class MemoryBudgetError(TemporaryError):
    """Another model was asked for, and the models in use leave no room for it."""

    code = "memory_budget"


__all__ = [
    "AuthenticationError",
    "CallCancelledError",
    "CheckpointError",
    "ClosedError",
    "ConfigError",
    "DeadlineExceededError",
    "EndpointBusyError",
    "EndpointError",
    "EndpointTimeoutError",
    "EngineError",
    "InvalidInputError",
    "LagottoError",
    "MalformedAnswerError",
    "MemoryBudgetError",
    "MissingDependencyError",
    "ModelLoadingError",
    "ModelNotAllowedError",
    "ModelNotFoundError",
    "OutOfMemoryError",
    "OverloadedError",
    "PermissionDeniedError",
    "RateLimitError",
    "TemporaryError",
    "TextTooLongError",
    "UnsafeWeightsError",
    "UnsupportedModelError",
]
