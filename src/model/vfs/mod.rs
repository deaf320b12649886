//! Files as every file system has them: path walks, permissions, attributes, and the calls that a
//! file system answers itself.

mod attributes;
mod fs;
mod memory;
mod names;
mod open;
mod permission;
mod pseudo;
mod walk;
mod xattr;

pub use attributes::{Change, has_privileges};
pub use fs::{Attr, New, NewKind, RenameHow};
pub use memory::PAGE;
pub use names::is_member;
pub use open::How;
pub use permission::{Access, Guard};
pub use walk::{Last, NAME_MAX, Parent, Walk};
