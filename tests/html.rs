//! The pages of `--html`: well-formed, whole by themselves, harmless, and usable in a real browser.

#[path = "common/browser.rs"]
mod browser;
mod common;

use std::collections::BTreeSet;

use browser::{Browser, DOWN, ENTER, TAB};
use common::{FAILS, PASSES, Place, User, json_lines};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde_json::{Value, json};

/// The elements that a page may have.
const ELEMENTS: &str = "
    html head meta link title style body script a header main nav section article h1 h2 h3
    h4 p ul ol li dl dt dd div span b small code pre ins del figure figcaption details
    summary table thead tbody tr th td form fieldset legend label select option input button
    output svg desc g rect path text tspan
";

/// What a page has, as an XML parser reads it.
#[derive(Default)]
struct Parsed {
    elements: Vec<(String, Vec<(String, String)>)>,
    text: String,
}

impl Parsed {
    /// Parses a page but for its style and script, which are no XML.
    #[track_caller]
    fn of(page: &str) -> Self {
        let mut page = page.strip_prefix("<!DOCTYPE html>").expect("a doctype").to_owned();
        for name in ["style", "script"] {
            if let Some(from) = page.find(&format!("<{name}>")) {
                let to = page.find(&format!("</{name}>")).unwrap();
                page.replace_range(from + name.len() + 2..to, "");
            }
        }
        let mut parsed = Self::default();
        let mut reader = Reader::from_str(&page);
        reader.config_mut().check_end_names = true;
        loop {
            match reader.read_event().expect("well-formed") {
                Event::Start(start) | Event::Empty(start) => parsed.element(&start),
                Event::Text(text) => parsed.text.push_str(&text.decode().unwrap()),
                Event::GeneralRef(name) => parsed.text.push_str(match &*name.decode().unwrap() {
                    "lt" => "<",
                    "gt" => ">",
                    "amp" => "&",
                    "quot" => "\"",
                    other => panic!("&{other}; is no reference of ours"),
                }),
                Event::Eof => return parsed,
                _ => {}
            }
        }
    }

    fn element(&mut self, start: &BytesStart<'_>) {
        let name = String::from_utf8(start.name().as_ref().to_vec()).unwrap();
        let attribute = |attribute: Result<quick_xml::events::attributes::Attribute<'_>, _>| {
            let attribute = attribute.expect("an attribute, once");
            let name = String::from_utf8(attribute.key.as_ref().to_vec()).unwrap();
            (
                name,
                quick_xml::escape::unescape(std::str::from_utf8(&attribute.value).unwrap())
                    .unwrap()
                    .into_owned(),
            )
        };
        self.elements.push((name, start.attributes().map(attribute).collect()));
    }

    fn all<'p>(&'p self, attribute: &'p str) -> impl Iterator<Item = (&'p str, &'p str)> {
        self.elements.iter().flat_map(move |(name, attributes)| {
            let found = attributes.iter().filter(move |(key, _)| key == attribute);
            found.map(move |(_, value)| (name.as_str(), value.as_str()))
        })
    }

    /// Holds what every page must be.
    #[track_caller]
    fn is_sound(&self) {
        let ids: Vec<_> = self.all("id").map(|(_, id)| id).collect();
        let there: BTreeSet<_> = ids.iter().copied().collect();
        assert_eq!(ids.len(), there.len(), "an id stands twice");
        for (element, link) in self.all("href") {
            match (element, link.strip_prefix('#')) {
                (_, Some(id)) => assert!(there.contains(id), "nothing is called {id}"),
                ("a", None) => assert!(link.starts_with("https://"), "{link}"),
                ("link", None) => assert_eq!(link, "data:,"),
                _ => panic!("{element} leads to {link}"),
            }
        }
        for (_, id) in self.all("aria-labelledby") {
            assert!(there.contains(id), "nothing is called {id}");
        }
        for attribute in
            ["src", "srcset", "style", "xlink:href", "action", "data", "onclick", "onload"]
        {
            assert_eq!(self.all(attribute).count(), 0, "{attribute}");
        }
        let allowed: BTreeSet<_> = ELEMENTS.split_whitespace().collect();
        for (element, _) in &self.elements {
            assert!(allowed.contains(&element.as_str()), "{element} is none of ours");
        }
        let policy = self.all("content").map(|(_, content)| content).find(|c| c.contains("-src"));
        let policy = policy.expect("a policy");
        assert!(
            policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(!policy.contains("http"), "{policy}");
    }
}

/// Scenarios of three families that pass, fail, are known and are skipped, wherever they are asked.
fn scenarios(place: &Place) {
    place.write("scenarios/files/passes.yaml", PASSES);
    place.write("scenarios/files/fails.yaml", FAILS);
    place.write("scenarios/odd/skipped.yaml", &format!("requires: [aufs]\n{PASSES}"));
    place.write("scenarios/overlay/unlink.yaml", UNLINK);
    place.write("scenarios/owners/chown.yaml", CHOWN);
    place.write("scenarios/mounts/slave.yaml", SLAVE);
}

const UNLINK: &str = "\
title: A name that was removed is there
world:
  tree:
    lower/etc/passwd: { file: \"root\\n\" }
    lower/etc/group: { file: \"x\\n\" }
    upper: dir
    work: dir
    merged: dir
steps:
  - overlay: { at: merged, lower: [lower], upper: upper, work: work, options: [userxattr] }
  - unlink: { path: merged/etc/passwd }
  - stat: { path: merged/etc/passwd, expect: ok }
";

const CHOWN: &str = "\
title: An owner gives a file away
world:
  tree: { file: { type: file, uid: 1000, gid: 1000 } }
  actors:
    owner: { uid: 1000 }
    box:
      userns: { uid_map: [[0, 1000, 1], [1, 2000, 10]], gid_map: [[0, 1000, 1]] }
steps:
  - chown: { as: owner, path: file, uid: 2000, expect: ok }
";

const SLAVE: &str = "\
title: A slave tells its master
world:
  tree: { src: dir, one: dir, two: dir }
  mounts:
    - bind: { from: src, at: one }
    - propagation: { at: one, type: shared }
    - bind: { from: one, at: two }
    - propagation: { at: two, type: slave }
steps:
  - mount: { type: tmpfs, at: two, expect: EPERM }
";

/// A report of these scenarios by the model, which needs no kernel.
fn report(place: &Place) -> String {
    scenarios(place);
    place.run(User::Own, &["simulate", "--kernel", "6.12", "--html", "out.html"]).expect_code(1);
    place.read("out.html")
}

#[test]
fn a_page_is_well_formed_and_loads_nothing_and_every_link_leads_somewhere() {
    let place = Place::new();
    let page = report(&place);
    let parsed = Parsed::of(&page);
    parsed.is_sound();
    for told in ["A name that was removed is there", "ENOENT from statx", "overlay.lookup.whiteout"]
    {
        assert!(parsed.text.contains(told), "{told}");
    }
    for told in ["needs aufs", "next: nsharness explain overlay/unlink --kernel 6.12"] {
        assert!(parsed.text.contains(told), "{told}: {}", parsed.text);
    }
    assert!(page.matches("<svg").count() >= 6, "{}", page.matches("<svg").count());
}

#[test]
fn a_page_says_what_failed_before_anything_else() {
    let place = Place::new();
    let page = report(&place);
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is nowhere"));
    assert!(at("id=\"failures\"") < at("id=\"matrix\""));
    assert!(at("id=\"matrix\"") < at("id=\"skips\""));
    assert!(at("id=\"skips\"") < at("id=\"rest\""));
}

/// A report of every status: that of one scenario told again with each.
#[test]
fn every_status_is_told_in_words_with_its_reasons() {
    let place = Place::new();
    place.write("scenarios/a/passes.yaml", PASSES);
    place.run(User::Own, &["simulate", "--json", "one.json"]).expect_code(0);
    let events = json_lines(&place.read("one.json"));
    let words = ["pass", "fail", "xfail", "xpass", "skip", "broken", "timeout", "flaky"];
    let mut told: Vec<Value> = vec![events[0].clone()];
    told[0]["scenarios"] = json!(words.len());
    for word in words {
        let mut event = events[1].clone();
        event["id"] = json!(format!("a/{word}"));
        event["status"] = json!(word);
        event["reasons"] = json!([format!("the reason of {word}")]);
        if word == "skip" {
            event["missing"] =
                json!([{ "what": "luck", "why": "none was found", "remedy": "wait" }]);
        }
        told.push(event);
    }
    told.push(events.last().unwrap().clone());
    let lines: Vec<_> = told.iter().map(Value::to_string).collect();
    place.write("all.json", &format!("{}\n", lines.join("\n")));
    place.run(User::Own, &["merge", "all.json", "--html", "all.html"]).expect_code(1);
    let parsed = Parsed::of(&place.read("all.html"));
    parsed.is_sound();
    for word in words {
        let class = format!("status {word}");
        assert!(parsed.all("class").any(|(_, found)| found == class), "{word}");
        assert!(parsed.all("data-cells").any(|(_, cells)| cells == format!("0={word}")), "{word}");
        if !["pass", "skip"].contains(&word) {
            assert!(parsed.text.contains(&format!("the reason of {word}")), "{word}");
        }
    }
    assert!(
        parsed.text.contains("luck: none was found") && parsed.text.contains("What to do: wait")
    );
    // Its summary is still that of one scenario.
    assert!(parsed.text.contains("The report is not whole"));
}

#[test]
fn a_report_that_is_told_again_says_the_same_but_for_pictures() {
    let place = Place::new();
    scenarios(&place);
    let arguments = ["simulate", "--kernel", "6.12", "--json", "out.json", "--html", "out.html"];
    place.run(User::Own, &arguments).expect_code(1);
    place.run(User::Own, &["merge", "out.json", "--html", "again.html"]).expect_code(1);
    let mut first = place.read("out.html");
    while let Some(from) = first.find("<details class=\"pictures\"") {
        let to = first[from..].find("</details>").unwrap() + from + "</details>".len();
        first.replace_range(from..to, "");
    }
    assert_eq!(first, place.read("again.html"));
}

#[test]
fn nothing_of_a_scenario_is_taken_for_markup() {
    let place = Place::new();
    let hostile = r#"</script><img src=x onerror=alert(1)>&lt;\"' \u001b[2J \u202e \uffff ]]>"#;
    let text = format!(
        "title: \"{hostile}\"
tags: [\"<b>\"]
world:
  tree:
    \"<i>\\u0001&'\\u202e\": {{ file: \"</svg><script>alert(2)</script>\" }}
    \"-->]]>\": {{ symlink: \"javascript:alert(3)\" }}
steps:
  - stat: {{ path: \"<u>none</u>\", expect: ok }}
"
    );
    place.write("scenarios/h/hostile.yaml", &text);
    let arguments = ["simulate", "--kernel", "6.12", "--html", "out.html"];
    let done = place.run(User::Own, &arguments);
    if done.code != Some(1) {
        panic!("{done:?}");
    }
    let page = place.read("out.html");
    assert!(!page.chars().any(|c| c.is_control() && c != '\n'), "a control character");
    assert!(!page.contains('\u{202e}') && !page.contains('\u{ffff}'));
    let parsed = Parsed::of(&page);
    parsed.is_sound();
    assert_eq!(parsed.elements.iter().filter(|(name, _)| name == "script").count(), 1);
    assert!(parsed.text.contains("</script><img src=x onerror=alert(1)>&lt;"), "{}", parsed.text);
    let explained = ["explain", "scenarios/h/hostile.yaml", "--kernel", "6.12", "--html", "e.html"];
    place.run(User::Own, &explained).expect_code(0);
    let parsed = Parsed::of(&place.read("e.html"));
    parsed.is_sound();
    assert!(parsed.elements.iter().all(|(name, _)| name != "script"));
}

#[test]
fn a_matrix_is_a_page_with_what_differs_and_why() {
    let place = Place::new();
    place.write("scenarios/files/passes.yaml", PASSES);
    place.write("scenarios/files/fails.yaml", FAILS);
    // What a kernel answered, without a kernel: the same twice but for one step.
    for (version, file) in [("6.1", "old.json"), ("6.12", "new.json")] {
        place.run(User::Own, &["simulate", "--kernel", version, "--json", file]).expect_code(1);
    }
    let text = place.read("new.json").replace("\"target\":\"model\"", "\"target\":\"other\"");
    let text = text.replacen("ok with length 5", "EIO from write", 1);
    place.write("new.json", &text);
    place.run(User::Own, &["merge", "old.json", "new.json", "--html", "m.html"]).expect_code(1);
    let parsed = Parsed::of(&place.read("m.html"));
    parsed.is_sound();
    assert!(parsed.text.contains("Where the targets differ"), "{}", parsed.text);
    // The row and the article.
    assert_eq!(parsed.all("data-differs").count(), 2);
    assert!(parsed.all("data-cells").any(|(_, cells)| cells == "0=fail 1=fail"));
}

#[test]
fn a_scenario_is_explained_step_by_step_with_every_kind_of_picture() {
    let place = Place::new();
    scenarios(&place);
    let explain = |id: &str| {
        let arguments = ["explain", id, "--kernel", "6.12", "--html", "e.html"];
        let done = place.run(User::Own, &arguments).expect_code(0);
        assert_eq!(done.stdout, "");
        let parsed = Parsed::of(&place.read("e.html"));
        parsed.is_sound();
        parsed
    };
    let layers = explain("overlay/unlink");
    for told in
        ["lower", "upper", "seen at merged", "whiteout", "main removes the name merged/etc/passwd"]
    {
        assert!(layers.text.contains(told), "{told}");
    }
    let mounts = explain("mounts/slave");
    for told in ["mounts of main", "shared in group 1", "slave of group 1"] {
        assert!(mounts.text.contains(told), "{told}: {}", mounts.text);
    }
    let arrows = |parsed: &Parsed| parsed.all("class").filter(|(_, c)| *c == "arrow g1").count();
    assert!(arrows(&mounts) > 0 && arrows(&layers) == 0);
    let chown = explain("owners/chown");
    for told in ["id maps of box's user namespace", "1000", "2000 … 2009", "unmapped"] {
        assert!(chown.text.contains(told), "{told}: {}", chown.text);
    }
    // The way of the chown: what refuses it decides, and nothing is asked behind it.
    let way = &chown.text[chown.text.find("the way of: owner").unwrap()..];
    let order = [
        "who asks",
        "the right to change the owner",
        "refused: EPERM",
        "decides",
        "EPERM from fchownat",
    ];
    let places: Vec<_> = order.iter().map(|told| way.rfind(told).unwrap()).collect();
    assert!(places.is_sorted(), "{way}");
    assert_eq!(chown.all("class").filter(|(_, class)| class.ends_with("decides")).count(), 1);
}

#[test]
fn the_way_of_a_chown_has_the_server_and_the_id_map_where_there_is_one() {
    let place = Place::new();
    place.copy("scenarios");
    let way = |id: &str| {
        let arguments = ["explain", id, "--kernel", "6.12", "--html", "e.html"];
        place.run(User::Own, &arguments).expect_code(0);
        let parsed = Parsed::of(&place.read("e.html"));
        parsed.is_sound();
        parsed.text
    };
    let remote = way("nfs/chown-mapped-id@remote");
    assert!(remote.contains("checks nothing itself, and asks the server"), "{remote}");
    assert!(remote.contains("who asks, to the server"), "{remote}");
    assert!(!way("nfs/chown-mapped-id@local").contains("to the server"));
    let mapped = way("idmapped/chown-through");
    assert!(mapped.contains("through the id map of the mount"), "{mapped}");
}

#[test]
fn the_page_of_all_scenarios_has_a_few_megabytes() {
    let place = Place::new();
    place.copy("scenarios");
    place.copy("snapshots");
    let arguments = ["simulate", "scenarios", "--kernel", "6.12", "--quiet", "--html", "all.html"];
    place.run(User::Own, &arguments).expect_code(0);
    let page = place.read("all.html");
    assert!(page.len() < 6 << 20, "{} bytes", page.len());
    Parsed::of(&page).is_sound();
}

#[test]
fn what_is_no_scenario_has_no_page() {
    let place = Place::new();
    let done = place.run(User::Own, &["explain", "EXDEV", "--html", "e.html"]).expect_code(2);
    assert!(done.stderr.contains("--html shows a scenario"), "{}", done.stderr);
    assert!(!place.exists("e.html"));
}

// ---- in a browser ----

const SHOWN: &str = "return [...document.querySelectorAll('tr[data-case]')].filter(r => !r.hidden).map(r => r.querySelector('a').textContent)";

/// What the matrix shows.
fn shown(browser: &Browser) -> Vec<String> {
    let shown = browser.run(SHOWN);
    shown.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_browser_loads_pages_without_a_word_and_filters_them() {
    let Some(browser) = Browser::start() else { return };
    let place = Place::new();
    report(&place);
    let page = place.path().join("out.html");
    browser.open(&page, "");
    assert_eq!(browser.console(), [""; 0]);
    // The policy lets the style and the script through.
    assert_eq!(
        browser.run("return getComputedStyle(document.querySelector('.scroll')).overflowX"),
        "auto"
    );
    assert_eq!(browser.run("return document.getElementById('filters').hidden"), false);
    assert_eq!(browser.run("return performance.getEntriesByType('resource').length"), 0);
    let all = [
        "files/fails",
        "mounts/slave",
        "overlay/unlink",
        "owners/chown",
        "files/passes",
        "odd/skipped",
    ];
    assert_eq!(shown(&browser), all);
    // By the address, as somebody was given it.
    for (hash, wanted) in [
        ("#?family=files", &["files/fails", "files/passes"][..]),
        ("#?status=skip", &["odd/skipped"]),
        ("#?status=pass&target=model", &["files/passes"]),
        ("#?q=removed+NAME", &["overlay/unlink"]),
        ("#?q=nowhere", &[]),
        ("#?family=files&status=fail", &["files/fails"]),
    ] {
        browser.open(&page, hash);
        assert_eq!(shown(&browser), wanted, "{hash}");
        let articles = browser
            .run("return [...document.querySelectorAll('article')].filter(a => !a.hidden).length");
        assert_eq!(articles, wanted.len(), "{hash}");
    }
    // A link to what a filter hides shows it.
    browser.open(&page, "#?q=nowhere");
    let number = browser.run("return document.querySelector('#rest article').id");
    let number = number.as_str().unwrap();
    browser.run(&format!("location.hash = '#{number}'"));
    std::thread::sleep(std::time::Duration::from_millis(300));
    let visible = format!(
        "const a = document.getElementById('{number}'); return !a.hidden && a.querySelector('details').open"
    );
    assert_eq!(browser.run(&visible), true);
    assert_eq!(browser.console(), [""; 0]);
}

/// Who reads the thousandth row still sees which target a column is of.
#[test]
fn the_targets_of_a_long_matrix_stay_in_sight() {
    let Some(browser) = Browser::start() else { return };
    let place = Place::new();
    for number in 0..60 {
        place.write(&format!("scenarios/files/{number}.yaml"), PASSES);
    }
    place.run(User::Own, &["run", "--json", "host.json"]).expect_code(0);
    place.run(User::Own, &["simulate", "--json", "model.json"]).expect_code(0);
    place
        .run(User::Own, &["merge", "host.json", "model.json", "--html", "out.html"])
        .expect_code(0);
    browser.open(&place.path().join("out.html"), "");
    let at = browser.run(
        "const box = document.querySelector('.tall'); box.scrollTop = 1e6; box.scrollIntoView();
         const [top, head, last] = [box, box.querySelector('thead th'), box.querySelector('tbody tr:last-child')]
             .map(e => e.getBoundingClientRect());
         const seen = document.elementFromPoint(head.x + 5, head.y + 5).closest('th');
         return [box.scrollTop > 500, Math.round(head.top - top.top) <= 1, last.bottom <= innerHeight, seen.textContent]",
    );
    assert_eq!(at, json!([true, true, true, "scenario"]));
}

#[test]
fn a_page_is_whole_without_scripts() {
    let Some(browser) = Browser::start() else { return };
    let place = Place::new();
    report(&place);
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    browser.open(&place.path().join("out.html"), "");
    // Scripts of the test are not those of the page.
    assert_eq!(browser.run("return document.getElementById('filters').hidden"), true);
    assert_eq!(shown(&browser).len(), 6);
    assert_eq!(
        browser.run(
            "return document.querySelector('#failures svg').getBoundingClientRect().width > 50"
        ),
        true
    );
}

#[test]
fn the_keyboard_reaches_and_works_everything() {
    let Some(browser) = Browser::start() else { return };
    let place = Place::new();
    report(&place);
    browser.open(&place.path().join("out.html"), "");
    let focus = || {
        browser.run("return document.activeElement.name || document.activeElement.className || document.activeElement.id || document.activeElement.tagName")
    };
    browser.press(TAB);
    assert_eq!(focus(), "skip-link");
    let outline = "return getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth";
    assert_eq!(browser.run(outline), "solid3px");
    browser.press(ENTER);
    assert_eq!(focus(), "content");
    browser.press("/");
    assert_eq!(focus(), "q");
    browser.press("unlink");
    assert_eq!(shown(&browser), ["overlay/unlink"]);
    assert_eq!(browser.run("return location.hash"), "#?q=unlink");
    assert_eq!(
        browser.run("return document.getElementById('shown').textContent"),
        "1 of 6 scenarios shown"
    );
    // family, status, target, and the button behind them.
    for name in ["family", "status", "target", "clear"] {
        browser.press(TAB);
        assert_eq!(focus(), name);
        assert_eq!(browser.run(outline), "solid3px", "{name}");
    }
    browser.press(ENTER);
    assert_eq!(shown(&browser).len(), 6);
    assert_eq!(focus(), "q");
    assert_eq!(browser.run("return location.hash"), "");
    browser.press(&[TAB, DOWN].concat());
    assert_eq!(shown(&browser), ["files/fails", "files/passes"]);
    // A folded part is opened and closed by the keyboard.
    browser.run("document.querySelector('#rest summary').focus()");
    browser.press(ENTER);
    assert_eq!(browser.run("return document.querySelector('#rest details').open"), true);
    assert_eq!(browser.console(), [""; 0]);
}

/// The text with the least contrast, and how much it has: of each text with what is behind it.
const CONTRAST: &str = r#"
document.querySelectorAll('details').forEach(d => d.open = true);
document.querySelectorAll('[data-case]').forEach(d => d.style.contentVisibility = 'visible');
const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const parse = (c) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
const solid = (c) => { const p = parse(c); return p[3] > 250 ? p : null; };
const behindBox = (e) => { for (let at = e; at; at = at.parentElement) { const c = solid(getComputedStyle(at).backgroundColor); if (c) return c; } return [255, 255, 255]; };
const behindSvg = (e) => {
  if (e.previousElementSibling?.matches('rect:not(.none)')) return solid(getComputedStyle(e.previousElementSibling).fill);
  for (let at = e.parentElement; at; at = at.parentElement) {
    if (at.matches('svg')) return behindBox(at);
    const rect = [...at.children].find(c => c.matches('rect.back')) || [...at.children].find(c => c.matches('rect.box'));
    if (rect) return solid(getComputedStyle(rect).fill);
  }
};
let worst = [99, ''], count = 0;
for (const e of document.querySelectorAll('body *')) {
  if (e.matches('script, option, title, desc, :disabled')) continue;
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim() !== '');
  if (!own || !e.checkVisibility()) continue;
  const svg = e.closest('svg');
  const text = e.closest('text');
  const front = parse(getComputedStyle(e)[svg ? 'fill' : 'color']);
  const back = svg ? behindSvg(text) : behindBox(e);
  if (!back) { return ['no background', e.outerHTML, 0]; }
  count++;
  const r = ratio(front, back);
  if (r < worst[0]) worst = [r, e.outerHTML.slice(0, 200)];
}
return [worst[0], worst[1], count];
"#;

#[test]
fn light_and_dark_can_be_read() {
    let Some(browser) = Browser::start() else { return };
    let place = Place::new();
    report(&place);
    place.run(User::Own, &["explain", "overlay/unlink", "--kernel", "6.12", "--html", "e1.html"]);
    place.run(User::Own, &["explain", "owners/chown", "--kernel", "6.12", "--html", "e2.html"]);
    place.run(User::Own, &["explain", "mounts/slave", "--kernel", "6.12", "--html", "e3.html"]);
    let mut papers = BTreeSet::new();
    for scheme in ["light", "dark"] {
        let feature = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        browser.devtools("Emulation.setEmulatedMedia", json!({ "features": feature }));
        for name in ["out.html", "e1.html", "e2.html", "e3.html"] {
            browser.open(&place.path().join(name), "");
            let found = browser.run(CONTRAST);
            // WCAG 2.2, 1.4.3: 4.5 to 1.
            let ratio = found[0].as_f64().unwrap_or_default();
            assert!(ratio >= 4.5 && found[2].as_u64() > Some(20), "{scheme} {name}: {found}");
            papers.insert(
                browser.run("return getComputedStyle(document.body).backgroundColor").to_string(),
            );
        }
    }
    assert_eq!(papers.len(), 2, "{papers:?}");
}

#[test]
fn nothing_is_wider_than_a_telephone() {
    let Some(browser) = Browser::start() else { return };
    let place = Place::new();
    report(&place);
    place.run(User::Own, &["explain", "mounts/slave", "--kernel", "6.12", "--html", "e.html"]);
    let size = json!({ "width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true });
    browser.devtools("Emulation.setDeviceMetricsOverride", size);
    for name in ["out.html", "e.html"] {
        browser.open(&place.path().join(name), "");
        let widths = browser.run(
            "document.querySelectorAll('details').forEach(d => d.open = true); \
             return [document.documentElement.scrollWidth, innerWidth, document.body.scrollWidth]",
        );
        assert_eq!(widths, json!([360, 360, 360]), "{name}");
    }
}
