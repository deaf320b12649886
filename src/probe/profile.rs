//! The profile that the model gets of an environment: its version, its answers, its settings.

use std::fs;

use super::Environment;
use crate::model::profile::{Profile, Settings};
use crate::sandbox::sysctl;
use crate::scenario::condition::KernelVersion;

impl Environment {
    /// What the model is told of this environment; never what the kernel answered to a plan.
    pub fn profile(&self) -> Profile {
        let mut profile = Profile::of_version(self.version);
        for (name, finding) in &self.findings {
            if let Some(value) = finding.value {
                profile.probes.insert(name.clone(), value);
            }
        }
        profile.settings = self.settings.clone();
        profile
    }

    /// The environment that a kernel of this profile would be; nothing of it is asked.
    pub fn simulated(profile: &Profile) -> Self {
        let mut environment = Self::of_host(false);
        let KernelVersion(major, minor, patch) = profile.version;
        environment.release = format!("{major}.{minor}");
        if patch > 0 {
            environment.release.push_str(&format!(".{patch}"));
        }
        environment.version = profile.version;
        environment.simulated = true;
        environment.settings = profile.settings.clone();
        environment
    }
}

/// What is set on this machine. What cannot be read is as if nobody had set it: a module that is not
/// loaded yet comes with its defaults.
pub fn settings() -> Settings {
    let default = Settings::default();
    let overlay = |name: &str, default: bool| {
        let text = fs::read_to_string(format!("/sys/module/overlay/parameters/{name}"));
        text.ok().and_then(|text| switch(&text)).unwrap_or(default)
    };
    let protected = |name: &str, default: u8| {
        let value = sysctl(&format!("fs.protected_{name}"));
        value.and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    Settings {
        overlay_redirect_dir: overlay("redirect_dir", default.overlay_redirect_dir),
        overlay_redirect_always_follow: overlay(
            "redirect_always_follow",
            default.overlay_redirect_always_follow,
        ),
        overlay_index: overlay("index", default.overlay_index),
        overlay_metacopy: overlay("metacopy", default.overlay_metacopy),
        overlay_nfs_export: overlay("nfs_export", default.overlay_nfs_export),
        overlay_xino_auto: overlay("xino_auto", default.overlay_xino_auto),
        protected_hardlinks: protected("hardlinks", default.protected_hardlinks.into()) > 0,
        protected_symlinks: protected("symlinks", default.protected_symlinks.into()) > 0,
        protected_regular: protected("regular", default.protected_regular),
        protected_fifos: protected("fifos", default.protected_fifos),
        file_systems: fs::read_to_string("/proc/filesystems").ok().map(|table| types(&table)),
    }
}

/// A module parameter of type bool, as the kernel shows it.
fn switch(text: &str) -> Option<bool> {
    match text.trim() {
        "Y" | "y" | "1" => Some(true),
        "N" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// The types in /proc/filesystems, with and without a device.
fn types(table: &str) -> Vec<String> {
    table.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_says_neither_yes_nor_no_says_nothing() {
        assert_eq!(
            (switch("Y\n"), switch("N\n"), switch("always\n")),
            (Some(true), Some(false), None)
        );
    }

    #[test]
    fn types_are_known_with_and_without_a_device() {
        assert_eq!(types("nodev\ttmpfs\n\text4\n"), ["tmpfs", "ext4"]);
    }

    #[test]
    fn answers_of_probes_are_passed_on_and_unknown_ones_are_not() {
        let mut environment = Environment::of_host(false);
        environment.findings.insert("overlay".into(), super::super::Finding::answer(false, "x"));
        environment.findings.insert("proc".into(), super::super::Finding::none("x"));
        let profile = environment.profile();
        assert_eq!((profile.probe("overlay"), profile.probe("proc")), (Some(false), None));
    }
}
