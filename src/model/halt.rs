//! Why an operation of the model does not go on.

use crate::scenario::scalar::Errno;

/// Why an operation does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The rules refuse it with this error.
    Refused(Errno),
    /// The model does not know the rules, for this reason.
    Unknown(&'static str),
    /// The model gives up in the middle, for this reason: what comes after is not known either.
    Lost(&'static str),
}

/// What an operation of the model comes to.
pub type Res<T> = Result<T, Halt>;

impl From<Errno> for Halt {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno)
    }
}

/// The refusal with an error, as what a function gives.
pub fn refuse<T>(errno: Errno) -> Res<T> {
    Err(Halt::Refused(errno))
}
