//! The mount options of an overlay: fs/overlayfs/params.c.

use crate::model::halt::{Res, refuse};
use crate::model::ids::cap;
use crate::model::machine::{Machine, Place, ProcId};
use crate::model::rules::overlay as rules;
use crate::model::vfs::Walk;
use crate::scenario::scalar::Errno;

/// Most lower layers: `OVL_MAX_STACK`.
const MAX_LAYERS: usize = 500;

/// The options that a file system context gathers.
#[derive(Clone, Debug, Default)]
pub struct MountOptions {
    pub(super) lower: Vec<Given>,
    /// How many of the lower layers, the last ones, give data only.
    pub(super) data: usize,
    /// Whether the lower layers came all at once, by `lowerdir`.
    all_at_once: bool,
    pub(super) upper: Option<Given>,
    pub(super) work: Option<Given>,
    pub(super) redirect: Option<Redirect>,
    pub(super) index: Option<bool>,
    pub(super) nfs_export: Option<bool>,
    pub(super) metacopy: Option<bool>,
    pub(super) xino: Option<Xino>,
    pub(super) uuid: Option<Uuid>,
    pub(super) verity: bool,
    pub(super) volatile: bool,
    pub(super) userxattr: bool,
}

/// A layer as it was given.
#[derive(Clone, Debug)]
pub(super) enum Given {
    Found(Place),
    /// To be looked up when it is mounted.
    Path(String),
}

/// What an option is set to.
#[derive(Clone, Copy, Debug)]
pub enum ParamValue<'a> {
    /// Nothing: the name is all.
    Flag,
    /// A text.
    Text(&'a str),
    /// An open file, by fsconfig(2) with `FSCONFIG_SET_FD`.
    Fd(Place),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    Follow,
    NoFollow,
    On,
}

/// Whether inode numbers tell the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Xino {
    Off,
    Auto,
    On,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uuid {
    Off,
    Null,
    Auto,
    On,
}

/// What the options come to when it is mounted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Config {
    pub redirect: Redirect,
    pub index: bool,
    pub nfs_export: bool,
    pub metacopy: bool,
    pub xino: Xino,
    pub uuid: Uuid,
    pub volatile: bool,
    pub userxattr: bool,
}

/// Which option a layer is given by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LayerOption {
    Lower,
    AddLower,
    AddData,
    Upper,
    Work,
}

impl Machine<'_> {
    /// Reads one option (`ovl_parse_param`).
    ///
    /// # Errors
    /// EINVAL for what is not known, and what looking up a layer is refused with.
    pub fn ovl_parse_param(
        &mut self,
        who: ProcId,
        options: &mut MountOptions,
        key: &str,
        value: ParamValue<'_>,
    ) -> Res<()> {
        let layer = match key {
            "lowerdir" => Some(LayerOption::Lower),
            "lowerdir+" if self.by(&rules::LAYERS_ONE_BY_ONE) => Some(LayerOption::AddLower),
            "datadir+" if self.by(&rules::LAYERS_ONE_BY_ONE) => Some(LayerOption::AddData),
            "upperdir" => Some(LayerOption::Upper),
            "workdir" => Some(LayerOption::Work),
            _ => None,
        };
        if let Some(layer) = layer {
            return self.parse_layer(who, options, layer, value);
        }
        if self.set_option(options, key, value).is_some() {
            return Ok(());
        }
        self.deny(true, &rules::MOUNT_UNKNOWN_OPTION, Errno::EINVAL)
    }

    /// Sets an option that is no layer; `None` where its name or value is not known.
    fn set_option(
        &self,
        options: &mut MountOptions,
        key: &str,
        value: ParamValue<'_>,
    ) -> Option<()> {
        let text = match value {
            ParamValue::Text(text) => Some(text),
            ParamValue::Flag => None,
            ParamValue::Fd(_) => return None,
        };
        match (key, text) {
            ("default_permissions", None) => {}
            ("userxattr", None) => options.userxattr = true,
            ("volatile", None) => options.volatile = true,
            ("redirect_dir", Some(text)) => {
                options.redirect = Some(match text {
                    "on" => Redirect::On,
                    "follow" => Redirect::Follow,
                    "nofollow" => Redirect::NoFollow,
                    "off" if self.profile.settings.overlay_redirect_always_follow => {
                        Redirect::Follow
                    }
                    "off" => Redirect::NoFollow,
                    _ => return None,
                });
            }
            ("index", Some(text)) => options.index = Some(on_off(text)?),
            ("nfs_export", Some(text)) => options.nfs_export = Some(on_off(text)?),
            ("metacopy", Some(text)) => options.metacopy = Some(on_off(text)?),
            ("xino", Some("auto")) => options.xino = Some(Xino::Auto),
            ("xino", Some(text)) => {
                options.xino = Some(if on_off(text)? { Xino::On } else { Xino::Off });
            }
            ("uuid", Some(text)) => {
                options.uuid = Some(match text {
                    "off" => Uuid::Off,
                    "null" => Uuid::Null,
                    "auto" => Uuid::Auto,
                    "on" => Uuid::On,
                    _ => return None,
                });
            }
            ("verity", Some("off")) => options.verity = false,
            ("verity", Some("on" | "require")) => options.verity = true,
            ("override_creds" | "nooverride_creds", None) if self.profile.at_least(6, 15) => {}
            _ => return None,
        }
        Some(())
    }

    fn parse_layer(
        &mut self,
        who: ProcId,
        options: &mut MountOptions,
        layer: LayerOption,
        value: ParamValue<'_>,
    ) -> Res<()> {
        match value {
            ParamValue::Text(text) if layer == LayerOption::Lower => {
                self.parse_lowerdir(who, options, text)
            }
            ParamValue::Text(text) => {
                self.deny(text.is_empty(), &rules::MOUNT_UNKNOWN_OPTION, Errno::EINVAL)?;
                let path = match layer {
                    LayerOption::Upper | LayerOption::Work => unescape(text),
                    _ => text.to_owned(),
                };
                self.add_layer(who, options, layer, path)
            }
            ParamValue::Fd(place)
                if layer != LayerOption::Lower && self.by(&rules::LAYER_BY_FD) =>
            {
                self.check_layer(options, layer, place)?;
                self.put_layer(options, layer, Given::Found(place));
                Ok(())
            }
            ParamValue::Fd(_) | ParamValue::Flag => {
                self.deny(true, &rules::MOUNT_UNKNOWN_OPTION, Errno::EINVAL)
            }
        }
    }

    /// All lower layers as one text; what was given before is forgotten.
    fn parse_lowerdir(&mut self, who: ProcId, options: &mut MountOptions, text: &str) -> Res<()> {
        options.lower.clear();
        options.data = 0;
        options.all_at_once = false;
        if text.is_empty() {
            return Ok(());
        }
        let parts: Vec<_> = split_unescaped(text, ':').collect();
        // Where a single colon stands, a lower layer follows; behind two of them one for data only.
        let bad = |parts: &[&str]| {
            parts.first().is_some_and(|part| part.is_empty())
                || parts.last().is_some_and(|part| part.is_empty())
                || parts.windows(2).any(|two| two[0].is_empty() && two[1].is_empty())
        };
        self.deny(bad(&parts), &rules::LOWERDIR_COLONS, Errno::EINVAL)?;
        options.all_at_once = !text.starts_with(':');
        let count = parts.iter().filter(|part| !part.is_empty()).count();
        self.deny(count > MAX_LAYERS, &rules::TOO_MANY_LAYERS, Errno::EINVAL)?;
        let mut data = false;
        for part in parts {
            if part.is_empty() {
                data = self.by(&rules::DATA_LAYERS);
                if !data {
                    self.put_layer(options, LayerOption::Lower, Given::Path(String::new()));
                }
                continue;
            }
            let after_data = options.data > 0 && !data;
            self.deny(after_data, &rules::LOWER_BEHIND_DATA, Errno::EINVAL)?;
            self.add_layer(who, options, LayerOption::Lower, unescape(part))?;
            options.data += usize::from(data);
            data = false;
        }
        Ok(())
    }

    fn add_layer(
        &mut self,
        who: ProcId,
        options: &mut MountOptions,
        layer: LayerOption,
        path: String,
    ) -> Res<()> {
        if self.by(&rules::LAYERS_LOOKED_UP_AT_ONCE) {
            let place = self.walk(who, None, &path, Walk::default())?;
            self.check_layer(options, layer, place)?;
            self.put_layer(options, layer, Given::Found(place));
        } else {
            self.put_layer(options, layer, Given::Path(path));
        }
        Ok(())
    }

    /// Whether a place can be a layer (`ovl_mount_dir_check`).
    fn check_layer(&self, options: &MountOptions, layer: LayerOption, place: Place) -> Res<()> {
        match layer {
            LayerOption::Upper | LayerOption::Work => return self.check_upper(place),
            _ => self.check_lower(place)?,
        }
        let added = layer != LayerOption::Lower;
        let late = added && options.all_at_once;
        self.deny(late, &rules::LAYERS_ADDED_LATE, Errno::EINVAL)?;
        let behind = layer == LayerOption::AddLower && options.data > 0;
        self.deny(behind, &rules::LOWER_BEHIND_DATA, Errno::EINVAL)?;
        let many = options.lower.len() >= MAX_LAYERS;
        self.deny(many, &rules::TOO_MANY_LAYERS, Errno::EINVAL)
    }

    fn check_lower(&self, place: Place) -> Res<()> {
        self.deny(!self.is_dir(place.dentry), &rules::LAYER_NO_DIRECTORY, Errno::EINVAL)
    }

    fn check_upper(&self, place: Place) -> Res<()> {
        self.check_lower(place)?;
        let sb = &self.supers[self.dentries[place.dentry].sb];
        let is_overlay = sb.overlay.is_some();
        self.deny(is_overlay, &rules::UPPER_ON_OVERLAY, Errno::EINVAL)?;
        let readonly = sb.readonly || self.mounts[place.mount].flags.ro;
        self.deny(readonly, &rules::UPPER_READONLY, Errno::EINVAL)
    }

    fn put_layer(&self, options: &mut MountOptions, layer: LayerOption, given: Given) {
        match layer {
            LayerOption::Upper => options.upper = Some(given),
            LayerOption::Work => options.work = Some(given),
            LayerOption::AddData => {
                options.data += 1;
                options.lower.push(given);
            }
            LayerOption::Lower | LayerOption::AddLower => options.lower.push(given),
        }
    }

    /// The layers of the options as places, looked up now where that was not done before.
    pub(super) fn found_layer(&mut self, who: ProcId, given: &Given, upper: bool) -> Res<Place> {
        match given {
            Given::Found(place) => Ok(*place),
            Given::Path(path) => {
                self.deny(path.is_empty(), &rules::LAYER_EMPTY, Errno::EINVAL)?;
                let place = self.walk(who, None, path, Walk::default())?;
                if upper {
                    self.check_upper(place)?
                } else {
                    self.check_lower(place)?
                }
                Ok(place)
            }
        }
    }

    /// Resolves what options need of each other (`ovl_fs_params_verify`).
    pub(super) fn verify_options(&self, who: ProcId, options: &MountOptions) -> Res<Config> {
        let settings = &self.profile.settings;
        let default_redirect = if settings.overlay_redirect_dir {
            Redirect::On
        } else if settings.overlay_redirect_always_follow {
            Redirect::Follow
        } else {
            Redirect::NoFollow
        };
        let default_xino = if settings.overlay_xino_auto { Xino::Auto } else { Xino::Off };
        let mut config = Config {
            redirect: options.redirect.unwrap_or(default_redirect),
            index: options.index.unwrap_or(settings.overlay_index),
            nfs_export: options.nfs_export.unwrap_or(settings.overlay_nfs_export),
            metacopy: options.metacopy.unwrap_or(settings.overlay_metacopy),
            xino: options.xino.unwrap_or(default_xino),
            uuid: options.uuid.unwrap_or(Uuid::Auto),
            volatile: options.volatile && options.upper.is_some(),
            userxattr: options.userxattr,
        };
        let has_upper = options.upper.is_some();
        let index_set = options.index.is_some() && (has_upper || options.index == Some(false));
        if !has_upper {
            config.index = false;
            if config.uuid == Uuid::On {
                config.uuid = Uuid::Null;
            }
        }
        if options.verity && !config.metacopy && self.by(&rules::VERITY_NEEDS_METACOPY) {
            if options.metacopy.is_some() {
                return refuse(Errno::EINVAL);
            }
            config.metacopy = true;
        }
        if !has_upper && config.redirect == Redirect::Follow {
            config.redirect = Redirect::On;
        }
        if config.metacopy && config.redirect != Redirect::On {
            let redirect_set = options.redirect.is_some();
            let conflict = redirect_set && (options.metacopy.is_some() || options.verity);
            self.deny(conflict, &rules::METACOPY_NEEDS_REDIRECT, Errno::EINVAL)?;
            if redirect_set {
                config.metacopy = false;
            } else {
                config.redirect = Redirect::On;
            }
        }
        self.verify_nfs_export(options, index_set, &mut config)?;
        self.verify_userxattr(who, options, &mut config)?;
        let needs_metacopy = options.data > 0 && !config.metacopy;
        self.deny(needs_metacopy, &rules::DATA_NEEDS_METACOPY, Errno::EINVAL)?;
        Ok(config)
    }

    fn verify_nfs_export(
        &self,
        options: &MountOptions,
        index_set: bool,
        config: &mut Config,
    ) -> Res<()> {
        let has_what_it_needs = match options.upper {
            Some(_) => config.index && !config.metacopy,
            None => config.redirect == Redirect::NoFollow && !config.metacopy,
        };
        if config.nfs_export && !has_what_it_needs && self.by(&rules::NFS_EXPORT_FALLS_BACK) {
            config.nfs_export = false;
            return Ok(());
        }
        if config.nfs_export && !config.index {
            if options.upper.is_none() && config.redirect != Redirect::NoFollow {
                config.nfs_export = false;
            } else if index_set {
                let conflict = options.nfs_export.is_some();
                self.deny(conflict, &rules::NFS_EXPORT_NEEDS_INDEX, Errno::EINVAL)?;
                config.nfs_export = false;
            } else {
                config.index = true;
            }
        }
        if config.nfs_export && config.metacopy {
            let conflict = options.nfs_export.is_some() && options.metacopy.is_some();
            self.deny(conflict, &rules::NFS_EXPORT_OR_METACOPY, Errno::EINVAL)?;
            if options.metacopy.is_some() || options.verity {
                config.nfs_export = false;
            } else {
                config.metacopy = false;
            }
        }
        Ok(())
    }

    fn verify_userxattr(
        &self,
        who: ProcId,
        options: &MountOptions,
        config: &mut Config,
    ) -> Res<()> {
        let redirect_set = options.redirect.is_some() && config.redirect != Redirect::NoFollow;
        let metacopy_set = options.metacopy.is_some() && config.metacopy;
        if config.userxattr {
            let conflict = redirect_set || metacopy_set;
            self.deny(conflict, &rules::USERXATTR_CONFLICT, Errno::EINVAL)?;
            let verity = options.verity;
            self.deny(verity, &rules::USERXATTR_VERITY, Errno::EINVAL)?;
            config.redirect = Redirect::NoFollow;
            config.metacopy = false;
            return Ok(());
        }
        if !self.capable_of_machine(&self.processes[who].cred, cap::SYS_ADMIN) {
            self.deny(redirect_set, &rules::ROOTLESS_REDIRECT, Errno::EPERM)?;
            self.deny(metacopy_set, &rules::ROOTLESS_METACOPY, Errno::EPERM)?;
            self.deny(options.verity, &rules::ROOTLESS_VERITY, Errno::EPERM)?;
            self.deny(options.data > 0, &rules::ROOTLESS_DATA, Errno::EPERM)?;
        }
        Ok(())
    }
}

fn on_off(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

/// Splits a text at every separator that has no backslash before it.
fn split_unescaped(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c| {
        let splits = c == separator && !escaped;
        escaped = c == '\\' && !escaped;
        splits
    })
}

/// Takes away the backslashes that keep the character behind them from having a meaning.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut escaped = false;
    for c in text.chars() {
        escaped = c == '\\' && !escaped;
        if !escaped {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_keeps_a_separator_from_separating() {
        let parts: Vec<_> = split_unescaped(r"a\:b:c\\:d", ':').map(unescape).collect();
        assert_eq!(parts, ["a:b", r"c\", "d"]);
    }
}
