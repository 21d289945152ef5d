"""
Every way in which a request can fail, in the façade's own words.

The tree, and where on a request's way each error is raised::

    FacadeError
    ├── CallerError                the caller can mend it
    │   ├── InvalidInput           schemas, inference: a field is wrong; carries its name
    │   ├── BodyTooLarge           middleware: more bytes than the limit
    │   ├── HeadTooLarge           http_protocol: a request line and headers of more bytes than the limit
    │   ├── Unauthenticated        middleware: no key, or one we don't know
    │   ├── PermissionDenied       middleware, access: known, but not for this
    │   ├── RouteNotFound          routes: no such path
    │   ├── MethodNotAllowed       routes: the path exists, the verb doesn't
    │   ├── ModelNotFound          inference: no such model or version
    │   ├── NotCached              cache: only-if-cached, and no fresh answer is stored
    │   ├── RateLimited            access: the caller's own limit is used up
    │   ├── ReadTooSlowly          inference: a stream's caller fell too far behind the model
    │   └── CallerLeft             middleware: the connection closed before the answer
    └── ServiceError               the caller can only wait or ask elsewhere
        ├── Overloaded             inference: the service is full
        ├── BackendUnavailable     triton: no Triton answers
        ├── VersionNotReady        triton: this version is gone; resolve the release again
        ├── DeadlineExceeded       triton, middleware: the time the caller gave is over
        └── BackendFailed          triton: Triton answered with a failure of its own
            └── ModelCrashed       triton: the process of the model died under the call

Nothing in this module knows HTTP; `facade.problems` maps each class to a status and a body.
"""


class FacadeError(Exception):
    """Base of all errors that a request can end with."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)

        self.message = message
        """One sentence for the caller: what is wrong and what to do."""

        self.param = param
        """The request's field that is wrong, as the caller wrote it (``input[3]``)."""

        self.code = code
        """A word that a program can switch on; the class's own default where None."""

        self.retry_after_s = retry_after_s
        """Seconds after which the same request may succeed; None where waiting doesn't help."""

        self.headers: dict[str, str] = {}
        """Further response headers, such as a quota's ``x-ratelimit-*``."""


class CallerError(FacadeError):
    """The request can't be answered as it is."""


class InvalidInput(CallerError):
    """A field of the request is wrong."""


class BodyTooLarge(CallerError):
    """The request's body has more bytes than the limit."""


class HeadTooLarge(CallerError):
    """The request line and the headers are larger than the limit."""


class Unauthenticated(CallerError):
    """The request carries no key, or one that is not known."""


class PermissionDenied(CallerError):
    """The caller is known and may not do this."""


class RouteNotFound(CallerError):
    """There is nothing at this path."""


class MethodNotAllowed(CallerError):
    """The path exists, but not for this method."""


class ModelNotFound(CallerError):
    """There is no such model, or no such version of it."""


class NotCached(CallerError):
    """The caller wanted a stored answer or none, and none is stored."""


class RateLimited(CallerError):
    """The caller used up a limit of its own."""


class ReadTooSlowly(CallerError):
    """The caller read a stream so slowly that what came next could not be kept for it."""


class CallerLeft(CallerError):
    """The caller closed the connection before the answer was ready."""


class ServiceError(FacadeError):
    """The request is fine; the service can't answer it now."""


class Overloaded(ServiceError):
    """As much work is waiting as the service is willing to hold."""


class BackendUnavailable(ServiceError):
    """No Triton can be reached, or it is starting or stopping."""

    reason = ""
    """Why, for the operator's log; callers don't read it."""


class VersionNotReady(ServiceError):
    """The model version asked for is not loaded (any more)."""


class DeadlineExceeded(ServiceError):
    """The time that the caller gave is over."""


class BackendFailed(ServiceError):
    """Triton answered with a failure that is not the caller's fault."""


class ModelCrashed(BackendFailed):
    """The process in which Triton runs the model died; another one is started."""
