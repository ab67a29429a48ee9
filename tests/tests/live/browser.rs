//! A headless Chromium, driven by the `DevTools` protocol (<https://chromedevtools.github.io/devtools-protocol/>).

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use capture_tests::poll::{DEADLINE, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

/// How long the browser may take for one answer.
const ANSWER: Duration = Duration::from_mins(1);

/// A browser with one page; killed when dropped.
pub struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    session: String,
    number: u64,
    /// What the page complained of: exceptions, errors on the console, violations of its policy.
    complaints: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts it and opens an empty page of so many pixels.
    pub fn start(width: u32, height: u32) -> Result<Self> {
        let profile = tempfile::Builder::new().prefix("ct-browser-").tempdir()?;
        // Whatever ends the test ends the browser.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "chromium", "--headless", "--remote-debugging-port=0"]);
        // As root there is no sandbox; the page is the agent's own.
        command.args([
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--hide-scrollbars",
        ]);
        command.args(["--disable-extensions", "--disable-background-networking", "--disable-component-update"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.arg(format!("--window-size={width},{height}")).arg("about:blank");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.context("chromium cannot be started; `cargo xtask setup` installs it")?;
        let (port, path) = eventually("chromium to listen", DEADLINE, || listening(profile.path()))?;
        let stream = TcpStream::connect(("127.0.0.1", port)).context("chromium's debugging port")?;
        stream.set_read_timeout(Some(ANSWER))?;
        let (socket, _) = tungstenite::client(format!("ws://127.0.0.1:{port}{path}"), stream)
            .map_err(|error| anyhow::anyhow!("chromium's debugging port: {error}"))?;
        let mut browser =
            Self { child, socket, session: String::new(), number: 0, complaints: Vec::new(), _profile: profile };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", &attach)?;
        session["sessionId"].as_str().context("no session")?.clone_into(&mut browser.session);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, &json!({}))?;
        }
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        browser.call("Emulation.setDeviceMetricsOverride", &metrics)?;
        Ok(browser)
    }

    /// Goes to an address.
    pub fn open(&mut self, url: &str) -> Result<()> {
        let answer = self.call("Page.navigate", &json!({ "url": url }))?;
        ensure!(answer["errorText"].is_null(), "{url}: {}", answer["errorText"]);
        // It is answered as soon as the page begins to come.
        let is_there = format!("document.readyState === 'complete' && location.href === {}", json!(url));
        self.until("the page to be there", &is_there)
    }

    /// Has the page prefer dark or light.
    pub fn prefer(&mut self, scheme: &str) -> Result<()> {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", &json!({ "features": features })).map(drop)
    }

    /// The value of an expression within the page.
    pub fn value(&mut self, expression: &str) -> Result<Value> {
        let ask = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", &ask)?;
        ensure!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        Ok(answer["result"]["value"].clone())
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, what: &str, expression: &str) -> Result<()> {
        self.until_within(what, expression, DEADLINE)
    }

    /// The same, for what may take longer.
    pub fn until_within(&mut self, what: &str, expression: &str, deadline: Duration) -> Result<()> {
        let begun = std::time::Instant::now();
        while self.value(expression)? != true {
            if begun.elapsed() > deadline {
                bail!("{what}: not within {} s; the page complained of {:?}", deadline.as_secs(), self.complaints);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Presses a key: a character, or the name of one such as `Enter`.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let text = if key.chars().count() == 1 { key } else { "" };
        self.call("Input.dispatchKeyEvent", &json!({ "type": "keyDown", "key": key, "text": text }))?;
        self.call("Input.dispatchKeyEvent", &json!({ "type": "keyUp", "key": key })).map(drop)
    }

    /// The page as PNG.
    pub fn screenshot(&mut self) -> Result<Vec<u8>> {
        let answer = self.call("Page.captureScreenshot", &json!({ "format": "png" }))?;
        decode(answer["data"].as_str().context("no picture")?)
    }

    /// What the page complained of so far.
    pub fn complaints(&mut self) -> Result<&[String]> {
        // What has happened by now is told before the answer.
        self.value("0")?;
        Ok(&self.complaints)
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.number += 1;
        let mut ask = json!({ "id": self.number, "method": method, "params": parameters });
        if !self.session.is_empty() {
            ask["sessionId"] = self.session.as_str().into();
        }
        self.socket.send(Message::text(ask.to_string())).context("chromium is gone")?;
        loop {
            let message = self.socket.read().with_context(|| format!("{method}: chromium does not answer"))?;
            let Message::Text(text) = message else { continue };
            let told: Value = serde_json::from_str(&text)?;
            if told["id"] == self.number {
                ensure!(told["error"].is_null(), "{method}: {}", told["error"]);
                return Ok(told["result"].clone());
            }
            self.note(&told);
        }
    }

    fn note(&mut self, told: &Value) {
        let parameters = &told["params"];
        match told["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(parameters["exceptionDetails"].to_string()),
            Some("Log.entryAdded") if parameters["entry"]["level"] == "error" => {
                self.complaints.push(parameters["entry"].to_string());
            }
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked first: what it has started ends with it, and its profile is let go of.
        self.session.clear();
        let _ = self.call("Browser.close", &json!({}));
        let _ = eventually("chromium to end", Duration::from_secs(5), || self.child.try_wait().ok().flatten());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Port and path, once chromium has written them down.
fn listening(profile: &Path) -> Option<(u16, String)> {
    let text = std::fs::read_to_string(profile.join("DevToolsActivePort")).ok()?;
    let (port, path) = text.split_once('\n')?;
    Some((port.parse().ok()?, path.trim().to_owned()))
}

/// Base64 (RFC 4648).
fn decode(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0);
    for byte in text.bytes().take_while(|byte| *byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => bail!("not base64"),
        };
        (bits, held) = (bits << 6 | u32::from(value), held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Ok(bytes)
}
