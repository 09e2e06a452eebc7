"""Every error capfilt raises on purpose.

    CapfiltError
    +-- UserError          a person can mend it: shown as one line, exit code 2, raised before work starts
    |   +-- ConfigError    a recipe, --set value or column name; the message names the setting
    |   +-- InputError     an input that cannot be read, is empty or is of no known kind
    |   +-- ChangedError   the run at OUT was planned from another input or recipe
    |   +-- BusyError      another live process writes this OUT
    |   +-- ModelError     a checkpoint that is missing, broken or in the wrong role
    +-- IntegrityError     a broken invariant: rows in are not images + failures, or a stored file changed
    +-- StorageError       a disk or bucket that cannot be written or read: full, read-only, no permission
    +-- RunFailed          chunks failed after all retries, or most rows in one way; the run can be resumed

A bad row is none of these: it is data, a row of `failures` with a `schema.Reason`.
"""


class CapfiltError(Exception):
    """Base of all errors raised on purpose."""


class RenamedSetting(FutureWarning):
    """A setting was given by its old name, which works for one more release."""


class UnconditionalStore(UserWarning):
    """A store has no conditional PUTs, so two runs that start at one moment may both take a folder."""


class UnknownWords(UserWarning):
    """Texts to train on hold many words that the vocabulary does not know."""


class UserError(CapfiltError):
    """A mistake a person can mend; the message is one line and names the setting or file."""


class ConfigError(UserError):
    """A recipe, an override or a column name is wrong."""


class InputError(UserError):
    """An input cannot be read, is empty or is of no known kind."""


class ChangedError(UserError):
    """The run at OUT was planned from another input or recipe."""


class BusyError(UserError):
    """Another live process writes this OUT."""


class ModelError(UserError):
    """A checkpoint is missing, broken or used in the wrong role."""


class IntegrityError(CapfiltError):
    """A broken invariant: a stage lost, doubled or reordered a row, or a stored file is not the committed one."""


class StorageError(CapfiltError):
    """A disk or bucket cannot be written or read: full, read-only, no permission."""


class RunFailed(CapfiltError):
    """Chunks failed after all retries, or most rows in one way; the rest is committed and the run can be resumed."""
