//! A headless Chromium, driven by the W3C's WebDriver protocol as ChromeDriver speaks it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::wait::eventually;

const SOON: Duration = Duration::from_secs(30);
/// By which WebDriver marks a reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub struct Browser {
    driver: Child,
    session: String,
    http: reqwest::Client,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        let mut driver = Command::new("chromedriver");
        let driver = driver.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut driver = driver.expect("chromedriver is installed; tests/run does that");
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let port = line.split_once("started successfully on port ")?.1;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let profile = tempfile::tempdir().unwrap();
        let directory = format!("--user-data-dir={}", profile.path().display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--window-size=1200,1000",
            &directory,
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        vod_cover::tls::install();
        let http = reqwest::Client::builder().no_proxy().timeout(SOON * 2).build().unwrap();
        let url =
            format!("http://127.0.0.1:{}/session", port.expect("chromedriver names its port"));
        let mut browser = Self { driver, session: url, http, _profile: profile };
        let made = browser.post("", wanted).await;
        let session = made["sessionId"].as_str().unwrap();
        browser.session = format!("{}/{session}", browser.session);
        browser
    }

    async fn post(&self, command: &str, body: Value) -> Value {
        let url = format!("{}{command}", self.session);
        let answer = self.http.post(&url).body(body.to_string()).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{command} {body}: {text}");
        serde_json::from_str::<Value>(&text).unwrap()["value"].take()
    }

    pub async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// What this JavaScript returns.
    pub async fn eval(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Waits until this JavaScript expression is true.
    pub async fn sees(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        eventually(expression, SOON, async || self.eval(&script).await == json!(true)).await;
    }

    /// Clicks the first element that this CSS selector finds, as a person does.
    pub async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.post(&format!("/element/{element}/click"), json!({})).await;
    }

    pub async fn write(&self, selector: &str, text: &str) {
        let element = self.find(selector).await;
        self.post(&format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    async fn find(&self, selector: &str) -> String {
        let wanted = json!({ "using": "css selector", "value": selector });
        self.post("/element", wanted).await[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Presses a key, which is a character of WebDriver's table, such as `\u{e004}` for Tab.
    pub async fn press(&self, key: &str) {
        let actions =
            [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.post("/actions", json!({ "actions": [keyboard] })).await;
    }

    /// A command of the Chrome DevTools Protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await;
    }

    /// What the page's console has said since the last time, errors of scripts and of the policy among it.
    pub async fn console(&self) -> Vec<String> {
        let said = self.post("/se/log", json!({ "type": "browser" })).await;
        let said = said.as_array().unwrap().iter();
        said.map(|entry| format!("{} {}", entry["level"], entry["message"])).collect()
    }

    /// What is visible, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        let url = format!("{}/screenshot", self.session);
        let answer = self.http.get(url).send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        STANDARD.decode(answer["value"].as_str().unwrap()).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser too, which a killed driver would leave behind.
        let quit = Command::new("curl").args(["-sX", "DELETE", &self.session]).output();
        drop(quit);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
