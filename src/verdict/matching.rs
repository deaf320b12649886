//! Whether an outcome is what was expected, and if not, how it differs.

use crate::scenario::condition::Answers;
use crate::scenario::expect::{Expect, Matcher, ValueOf, Wanted};
use crate::scenario::scalar::Name;
use crate::transcript::{Outcome, Value};

/// The outcome that counts in an environment; `None` where no condition holds.
pub fn resolve<'e>(expect: &'e Expect, environment: &dyn Answers) -> Option<&'e Expect> {
    match expect {
        Expect::When(branches) => {
            let (_, then) = branches.iter().find(|(condition, _)| condition.holds(environment))?;
            resolve(then, environment)
        }
        other => Some(other),
    }
}

/// Holds an outcome against what is expected.
///
/// # Errors
/// How it differs, in a sentence.
pub fn matches<'o>(
    expect: &Expect,
    outcome: &Outcome,
    earlier: &impl Fn(&Name) -> Option<&'o Outcome>,
) -> Result<(), String> {
    match (expect, outcome) {
        (Expect::Ok, Outcome::Ok(_)) => Ok(()),
        (Expect::Errno(wanted), Outcome::Failed { errno, .. }) if wanted == errno => Ok(()),
        (Expect::Refused(None), Outcome::Refused { .. }) => Ok(()),
        (Expect::Refused(Some(matcher)), Outcome::Refused { message, .. }) => {
            let message = Value::from(message.as_str());
            compare(matcher, "message", Some(&message), earlier)
                .map_err(|_| format!("expected {expect}, found {outcome}"))
        }
        (Expect::Values(wanted), Outcome::Ok(values)) => {
            for (name, matcher) in wanted {
                let value = values.get(name.as_str());
                compare(matcher, name, value, earlier)
                    .map_err(|shown| format!("expected {name} {matcher}, found {shown}"))?;
            }
            Ok(())
        }
        (Expect::AnyOf(several), _) => {
            if several.iter().any(|expect| matches(expect, outcome, earlier).is_ok()) {
                Ok(())
            } else {
                Err(format!("expected {expect}, found {outcome}"))
            }
        }
        (
            Expect::Ok
            | Expect::Errno(_)
            | Expect::Refused(_)
            | Expect::Values(_)
            | Expect::When(_),
            _,
        ) => {
            let found = match outcome {
                Outcome::Ok(_) => "ok".to_owned(),
                other => other.to_string(),
            };
            let wanted = match expect {
                Expect::Values(_) => "ok".to_owned(),
                other => other.to_string(),
            };
            Err(format!("expected {wanted}, found {found}"))
        }
    }
}

fn compare<'o>(
    matcher: &Matcher,
    name: &str,
    value: Option<&Value>,
    earlier: &impl Fn(&Name) -> Option<&'o Outcome>,
) -> Result<(), String> {
    let shown = || value.map_or_else(|| "none".to_owned(), ToString::to_string);
    let Some(found) = value else { return Err(shown()) };
    let other = |of: &ValueOf| match earlier(&of.step) {
        Some(Outcome::Ok(values)) => values.get(of.value.as_deref().unwrap_or(name)),
        _ => None,
    };
    let texts: Vec<String> = match found {
        Value::List(items) => items.iter().map(plain).collect(),
        other => vec![plain(other)],
    };
    let has = |text: &String| match found {
        Value::List(_) => texts.contains(text),
        _ => texts.iter().any(|found| found.contains(text.as_str())),
    };
    let holds = match matcher {
        Matcher::Is(wanted) => is(wanted, name, found, &texts),
        Matcher::Not(wanted) => !is(wanted, name, found, &texts),
        Matcher::Contains(all) => all.iter().all(has),
        Matcher::Lacks(all) => !all.iter().any(has),
        // A value that the earlier step did not give is neither the same nor another one.
        Matcher::SameAs(of) => other(of).is_some_and(|other| other == found),
        Matcher::DiffersFrom(of) => other(of).is_some_and(|other| other != found),
    };
    if holds {
        return Ok(());
    }
    match matcher {
        Matcher::SameAs(of) | Matcher::DiffersFrom(of) => {
            let other =
                other(of).map_or_else(|| "gave no such value".to_owned(), |v| format!("gave {v}"));
            Err(format!("{} ({of} {other})", shown()))
        }
        _ => Err(shown()),
    }
}

fn is(wanted: &Wanted, name: &str, found: &Value, texts: &[String]) -> bool {
    match (wanted, found) {
        (Wanted::List(wanted), Value::List(_)) => wanted == texts,
        (Wanted::Text(wanted), Value::Text(found)) if name == "mode" => {
            let octal = |text: &str| u32::from_str_radix(text, 8).ok();
            octal(wanted).is_some() && octal(wanted) == octal(found)
        }
        (Wanted::Text(wanted), found) if !matches!(found, Value::List(_)) => {
            *wanted == plain(found)
        }
        _ => false,
    }
}

/// A value without the quotes that it is shown with.
fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::scenario::scalar::Errno;

    fn none(_: &Name) -> Option<&'static Outcome> {
        None
    }

    fn failed(errno: &str) -> Outcome {
        let errno: Errno = errno.parse().unwrap();
        Outcome::Failed { errno, syscall: "x".into(), message: None }
    }

    #[test]
    fn an_errno_matches_itself_alone() {
        let expect = Expect::Errno("EPERM".parse().unwrap());
        assert!(matches(&expect, &failed("EPERM"), &none).is_ok());
        assert!(matches(&expect, &failed("EACCES"), &none).is_err());
        assert!(matches(&expect, &Outcome::done(), &none).is_err());
        assert!(matches(&Expect::Ok, &failed("EPERM"), &none).is_err());
    }

    #[test]
    fn a_refusal_for_another_reason_is_not_the_one_that_is_expected() {
        let refused =
            |message: &str| Outcome::Refused { by: "runc create".into(), message: message.into() };
        let contains = Matcher::Contains(vec!["RLIMIT_SKY".into(), "no".into()]);
        let expect = Expect::Refused(Some(contains));
        assert!(matches(&expect, &refused("RLIMIT_SKY: no such limit"), &none).is_ok());
        let why = matches(&expect, &refused("no rootfs"), &none).unwrap_err();
        assert_eq!(
            why,
            "expected refused with a message containing [RLIMIT_SKY, no], found refused by runc create: no rootfs"
        );
        assert!(matches(&expect, &failed("EPERM"), &none).is_err());
        assert!(matches(&Expect::Refused(None), &refused("no rootfs"), &none).is_ok());
    }

    #[test]
    fn a_value_that_is_not_there_matches_nothing() {
        let not = Matcher::Not(Wanted::Text("dir".into()));
        let expect = Expect::Values(BTreeMap::from([("type".to_owned(), not)]));
        assert!(matches(&expect, &Outcome::done(), &none).is_err());
    }

    #[test]
    fn a_mode_is_compared_as_a_number() {
        let is = Matcher::Is(Wanted::Text("644".into()));
        let expect = Expect::Values(BTreeMap::from([("mode".to_owned(), is)]));
        assert!(matches(&expect, &Outcome::values([("mode", "0644".into())]), &none).is_ok());
        assert!(matches(&expect, &Outcome::values([("mode", "0600".into())]), &none).is_err());
    }
}
