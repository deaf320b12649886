//! A headless Chromium, driven by chromedriver: <https://www.w3.org/TR/webdriver2/> over HTTP, and no more of it than
//! the tests use.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// The keys that are pressed by name.
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";
pub const DOWN: &str = "\u{e015}";

/// A browser with one window; it ends with this.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    /// What it still says must be read by somebody, or it ends.
    _said: BufReader<ChildStdout>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one with a profile of its own; `None` is a skip.
    pub fn start() -> Option<Self> {
        let mut command = Command::new("chromedriver");
        let started = command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut driver) = started else {
            crate::common::skip(
                "chromium",
                "chromedriver is not installed (Debian: chromium-driver)",
            );
            return None;
        };
        let mut said = BufReader::new(driver.stdout.take().unwrap());
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "chromedriver ended");
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim().trim_end_matches('.').parse().expect("a port");
            }
        };
        let (session, profile) = (String::new(), TempDir::new().unwrap());
        let mut browser = Self { driver, port, session, _said: said, _profile: profile };
        let directory = format!("--user-data-dir={}", browser._profile.path().display());
        let arguments = json!([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1200,900",
            directory,
        ]);
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        }}});
        let session = browser.ask("POST", "/session", &wanted);
        if session["error"].as_str().is_some_and(|error| error.contains("binary")) {
            crate::common::skip("chromium", &format!("there is no browser: {session}"));
            return None;
        }
        let session = session["sessionId"].as_str().unwrap_or_else(|| panic!("{session}"));
        browser.session = format!("/session/{session}");
        Some(browser)
    }

    /// Opens a file, with what stands behind its name in the address.
    pub fn open(&self, file: &Path, behind: &str) {
        // The same file with another fragment would not be loaded again.
        self.post("/url", json!({ "url": "about:blank" }));
        self.post("/url", json!({ "url": format!("file://{}{behind}", file.display()) }));
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] }))
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub fn press(&self, keys: &str) {
        let each = |key: char| {
            let key = key.to_string();
            [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
        };
        let pressed: Vec<_> = keys.chars().flat_map(each).collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": pressed }] });
        self.post("/actions", actions);
    }

    /// A command of the DevTools protocol.
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": parameters }))
    }

    /// What was written to the console since this was last asked, and what could not be loaded.
    pub fn console(&self) -> Vec<String> {
        let said = self.post("/se/log", json!({ "type": "browser" }));
        said.as_array().unwrap().iter().map(|line| line["message"].to_string()).collect()
    }

    #[track_caller]
    fn post(&self, path: &str, body: Value) -> Value {
        let value = self.ask("POST", &format!("{}{path}", self.session), &body);
        assert!(value["error"].is_null(), "{path} {body}: {value}");
        value
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(120)))?;
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )?;
            let mut input = BufReader::new(stream);
            let mut length = 0;
            loop {
                let mut line = String::new();
                input.read_line(&mut line)?;
                if let Some((name, value)) = line.split_once(':')
                    && name.eq_ignore_ascii_case("content-length")
                {
                    length = value.trim().parse().unwrap_or_default();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut text = vec![0; length];
            input.read_exact(&mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let answer =
            asked().unwrap_or_else(|error| json!({ "error": error.to_string() }).to_string());
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        if answer["value"].is_null() {
            json!({ "error": answer["error"] })
        } else {
            answer["value"].clone()
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            self.ask("DELETE", &self.session, &json!({}));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
