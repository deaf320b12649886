//! What `doctor` found out about an environment.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::probe::ability::{Verdict, verdicts};
use crate::probe::{self, Environment, Finding, Probe};

/// Where evidence begins.
const INDENT: usize = 32;

/// An environment as it was examined.
#[derive(Debug)]
pub struct Examined<'e> {
    /// The name of the target.
    pub target: &'e str,
    /// What was found.
    pub environment: &'e Environment,
    /// The scenarios that each probe keeps from being asked; `None` where there are none to count.
    pub blocked: Option<BTreeMap<String, Vec<&'e str>>>,
}

impl Examined<'_> {
    /// As text.
    pub fn text(&self) -> String {
        let Environment { release, machine, uid, note, .. } = self.environment;
        let note = note.as_ref().map(|note| format!(", {note}")).unwrap_or_default();
        let mut text = format!("Linux {release} {machine} ({}{note}), uid {uid}\n", self.target);
        let sections = [
            ("what scenarios may require", probe::all()),
            ("what the machine has", probe::of_machine()),
        ];
        for (title, probes) in sections {
            let mut asked =
                probes.iter().filter_map(|probe| Some((probe, self.finding(probe)?))).peekable();
            if asked.peek().is_some() {
                text.push_str(&format!("\n{title}\n"));
            }
            asked.for_each(|(probe, finding)| text.push_str(&self.probe(probe, finding)));
        }
        text.push_str(&self.verdicts());
        text
    }

    fn finding(&self, probe: &Probe) -> Option<&Finding> {
        self.environment.findings.get(probe.name)
    }

    fn probe(&self, probe: &Probe, finding: &Finding) -> String {
        let value = match finding.value {
            Some(true) => "yes",
            Some(false) => "no",
            None if finding.broke => "broke",
            None => "unknown",
        };
        let mut text = format!("{:<22} {value:<8} {}\n", probe.name, probe.question);
        // What kept it from being asked has remedies of its own.
        for missing in &finding.missing {
            text.push_str(&format!("{:INDENT$}{}\n", "", missing.why));
            text.push_str(&format!("{:INDENT$}remedy: {}\n", "", missing.remedy));
        }
        if finding.missing.is_empty() {
            text.push_str(&format!("{:INDENT$}{}\n", "", finding.evidence));
        }
        if finding.missing.is_empty() && finding.value != Some(true) {
            text.push_str(&format!("{:INDENT$}remedy: {}\n", "", probe.remedy));
        }
        let blocked = self.blocked.as_ref().and_then(|blocked| blocked.get(probe.name));
        if let Some(cases) = blocked {
            let count = match cases.len() {
                1 => "1 scenario".to_owned(),
                count => format!("{count} scenarios"),
            };
            text.push_str(&format!("{:INDENT$}keeps {count} from being asked here\n", ""));
        }
        text
    }

    fn verdicts(&self) -> String {
        let uid = self.environment.uid;
        let mut text = format!("\na rootless container engine, started by uid {uid} here\n");
        let mut told = BTreeSet::new();
        for Verdict { what, can, because } in verdicts(self.environment) {
            let can = match can {
                Some(true) => "can",
                Some(false) => "cannot",
                None => "may or may not",
            };
            let why = if because.is_empty() {
                String::new()
            } else {
                format!(": {}", because.join(", "))
            };
            text.push_str(&format!("  {can:<14} {what}{why}\n"));
            // Each remedy once.
            let new = because.iter().filter(|name| told.insert(**name));
            for probe in new.filter_map(|name| find(name)) {
                let missing =
                    self.finding(probe).map(|finding| &finding.missing[..]).unwrap_or_default();
                if missing.is_empty() {
                    text.push_str(&format!("{:19}{}: {}\n", "", probe.name, probe.remedy));
                }
                for missing in missing {
                    text.push_str(&format!(
                        "{:19}{}: {} ({})\n",
                        "", probe.name, missing.why, missing.remedy
                    ));
                }
            }
        }
        if uid == 0 {
            text.push_str("what an ordinary user may do is found out as that user\n");
        }
        if self.blocked.is_none() {
            text.push_str(
                "there is no scenarios/ here: which scenarios cannot be asked is not counted\n",
            );
        }
        text
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let probes = probe::all().iter().chain(probe::of_machine());
        let probes: serde_json::Map<String, Value> = probes
            .filter_map(|probe| {
                let finding = self.finding(probe)?;
                let none = Vec::new();
                let blocks =
                    self.blocked.as_ref().map(|blocked| blocked.get(probe.name).unwrap_or(&none));
                let value = json!({
                    "value": finding.value,
                    "evidence": finding.evidence,
                    "broke": finding.broke,
                    "missing": finding.missing,
                    "question": probe.question,
                    "remedy": probe.remedy,
                    "blocks": blocks,
                });
                Some((probe.name.to_owned(), value))
            })
            .collect();
        let abilities = verdicts(self.environment).into_iter().map(|verdict| {
            json!({ "what": verdict.what, "can": verdict.can, "because": verdict.because })
        });
        json!({
            "target": self.target,
            "kernel": self.environment.release,
            "machine": self.environment.machine,
            "uid": self.environment.uid,
            "note": self.environment.note,
            "probes": probes,
            "abilities": abilities.collect::<Vec<_>>(),
        })
    }
}

fn find(name: &str) -> Option<&'static Probe> {
    probe::all().iter().chain(probe::of_machine()).find(|probe| probe.name == name)
}
