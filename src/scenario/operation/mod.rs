//! The steps of the language: one operation each, named as the syscall or the concept is named. A file
//! has the operations of one family.
//!
//! The same types are decoded from YAML, travel in a plan and are performed by a worker. Their
//! documentation is the reference that users read: the schema and `docs/scenario-format.md` are
//! made from it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::value::ValueType;
pub use super::words::{
    AccessPurpose, FsCommand, LockKind, MountApi, MountAttribute, MountFlag, Mounter, Namespace,
    NodeType, OpenFlag, OpenTreeFlag, PropagationType, RenameFlag, UmountFlag, XattrFlag,
};

/// Declares the operations of a family: a struct for each with its fields, and what the language knows
/// of it.
macro_rules! operations {
    ($family:ident; $(
        $(#[doc = $doc:literal])+
        $name:ident = $word:literal { $(
            $(#[doc = $field_doc:literal])+
            $(#[serde($($serde:tt)*)])?
            $field:ident: $type:ty
        ),* $(,)? } gives { $($value:literal $kind:ident: $value_doc:literal),* $(,)? }
    )+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
            #[serde(deny_unknown_fields)]
            pub struct $name {
                $(
                    $(#[doc = $field_doc])+
                    $(#[serde($($serde)*)])?
                    pub $field: $type,
                )*
            }

            impl $name {
                pub(super) const DESCRIBED: super::Described = super::Described {
                    word: $word,
                    family: super::Family::$family,
                    values: &[$(super::Gives {
                        name: $value,
                        kind: super::ValueType::$kind,
                        about: $value_doc,
                    }),*],
                };
            }
        )+
    };
}

mod container;
mod credentials;
mod exec;
mod files;
mod mounts;
mod namespaces;
mod roots;

pub use container::*;
pub use credentials::*;
pub use exec::*;
pub use files::*;
pub use mounts::*;
pub use namespaces::*;
pub use roots::*;

/// Puts the operations of all families together.
macro_rules! operation {
    ($($(#[doc = $doc:literal])+ $family:ident = $of:ident { $($name:ident)+ })+) => {
        /// One operation of one actor.
        #[allow(missing_docs, reason = "what each does stands where its fields are declared")]
        #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Operation {
            $($($name($name),)+)+
        }

        /// A family of operations, as the documentation and the worker are divided.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Family {
            $($(#[doc = $doc])+ $family,)+
        }

        /// An operation by its family. Who takes it apart by this has an arm for each of a family, or the compiler
        /// says which is left out.
        #[allow(missing_docs, reason = "each is an operation of the family of this name")]
        #[derive(Clone, Copy, Debug)]
        pub enum InFamily<'o> {
            $($family($of<'o>),)+
        }

        $(
            $(#[doc = $doc])+
            #[allow(missing_docs, reason = "what each does stands where its fields are declared")]
            #[derive(Clone, Copy, Debug)]
            pub enum $of<'o> {
                $($name(&'o $name),)+
            }

            // It is described as of the family in which it is listed.
            $(const _: () = assert!($name::DESCRIBED.family as u8 == Family::$family as u8);)+
        )+

        impl Operation {
            /// What the language knows of each operation, in the order of its documentation.
            pub const ALL: &[Described] = &[$($($name::DESCRIBED),+),+];

            /// What the language knows of this operation.
            pub fn described(&self) -> &'static Described {
                match self { $($(Self::$name(_) => &$name::DESCRIBED,)+)+ }
            }

            /// This operation as one of its family.
            pub fn in_family(&self) -> InFamily<'_> {
                match self {
                    $($(Self::$name(operation) => InFamily::$family($of::$name(operation)),)+)+
                }
            }
        }
    };
}

operation! {
    /// Files, directories and their attributes.
    Files = FileOperation {
        Open Read Write Truncate Close Mkdir Rmdir Unlink Rename Link Symlink Readlink Mknod Chmod
        Chown Utimes Stat List Getxattr Setxattr Removexattr Listxattr Statfs Access Flock
    }
    /// The mount table.
    Mounts = MountOperation {
        Mount Overlay Bind Rbind Move Umount Remount Propagation Mounted Losetup Fuse Fsopen Fsconfig
        Fsmount OpenTree MoveMount MountSetattr
    }
    /// Root and working directories.
    Roots = RootOperation { Chroot Chdir Fchdir Getcwd PivotRoot }
    /// Namespaces and id maps.
    Namespaces = NamespaceOperation {
        Unshare Setns OpenNamespace WriteUidMap WriteGidMap WriteSetgroups ReadMaps Fork Exit
        Sethostname Gethostname
    }
    /// Ids, capabilities and process attributes.
    Credentials = CredentialOperation {
        Setuid Setgid Setresuid Setresgid Setgroups Getcred Capset CapAmbient CapBset Keepcaps
        NoNewPrivs Umask
    }
    /// Running a program.
    Exec = ExecOperation { Exec }
    /// What a container runtime is told to do.
    Container = ContainerOperation { Create Start State Kill Delete }
}

impl Operation {
    /// The word that names it in YAML.
    pub fn word(&self) -> &'static str {
        self.described().word
    }
}

/// What the language knows of one operation.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// The word that names it in YAML.
    pub word: &'static str,
    /// Where it belongs.
    pub family: Family,
    /// The values of a successful outcome that `expect` may name.
    pub values: &'static [Gives],
}

/// A value of a successful outcome.
#[derive(Clone, Copy, Debug)]
pub struct Gives {
    /// Its name.
    pub name: &'static str,
    /// What kind of value it is.
    pub kind: ValueType,
    /// What it means.
    pub about: &'static str,
}

impl Described {
    /// The value of this name.
    pub fn value(&self, name: &str) -> Option<&'static Gives> {
        self.values.iter().find(|value| value.name == name)
    }
}

/// What is left out where a plan is written.
pub fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The word is written down beside the operation, and serde makes it of the operation's name.
    #[test]
    fn an_operation_is_decoded_by_the_word_that_describes_it() {
        let schema = schemars::schema_for!(Operation).to_value();
        let variants = schema["oneOf"].as_array().expect("variants");
        let decoded = variants.iter().filter_map(|variant| variant["required"][0].as_str());
        let described = Operation::ALL.iter().map(|described| described.word);
        assert_eq!(decoded.collect::<Vec<_>>(), described.collect::<Vec<_>>());
    }
}
