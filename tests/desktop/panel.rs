//! The panel window of the built app, driven by WebKitWebDriver: the same UI as in a browser, over Tauri's own channel.

use crate::{app::start_by, desktop::Desktop, tools::Tools};
use pilothouse_tests::sandbox::{EMBEDDED_MODEL, OLLAMA_MODEL, Sandbox, free_port, until};
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
/// The key under which WebDriver gives elements (W3C WebDriver, section 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

#[tokio::test(flavor = "multi_thread")]
async fn the_panel_switches_and_answers() {
    let Some(tools) = Tools::find() else { return };
    let mut desktop = Desktop::start("panel").await;
    desktop.start_panel().await;
    let port = free_port();
    let mut starter = desktop.command(&tools.web_driver);
    // Without these the window cannot be driven.
    starter.env("TAURI_AUTOMATION", "true").env("TAURI_WEBVIEW_AUTOMATION", "true");
    starter.arg(format!("--port={port}"));
    let sandbox = Sandbox::new(&tools.sandbox, "");
    let mut driver = start_by(&desktop, &sandbox, starter);
    let window = Window::open(port, &tools).await;
    sandbox.add_ollama_model(&mut driver).await;
    assert_eq!(sandbox.switch(EMBEDDED_MODEL, "llama-server").code, Some(0));
    window.until_text("[data-testid=active-model]", EMBEDDED_MODEL).await;
    window.settle("[data-testid=active-model]").await.unwrap();
    desktop.picture("panel");

    window.click(&format!("[data-testid=model-row][data-id='ollama/{OLLAMA_MODEL}']")).await;
    window.until_text("[data-testid=active-model]", OLLAMA_MODEL).await;
    sandbox.until_active(&mut driver, "ollama").await;

    window.click("[data-testid=panel-footer] a[href='#/now/ask']").await;
    window.write("[data-testid=ask-prompt]", "Name a colour.").await;
    window.click("[data-testid=ask-send]").await;
    window.until_text("[data-testid=answer-by]", "Ollama").await;
    until("the whole answer", LIMIT, || async {
        window.text("[data-testid=answer][data-state=done]").await.filter(|answer| !answer.is_empty())
    })
    .await;
    window.settle("[data-testid=answer]").await.unwrap();
    desktop.picture("panel-answer");

    window.close().await;
    until("the end of the app", LIMIT, || async { sandbox.ask(&["status"]).is_none().then_some(()) }).await;
}

/// One session of WebKitWebDriver with the app's window.
struct Window {
    http: reqwest::Client,
    session: String,
}

impl Window {
    async fn open(port: u16, tools: &Tools) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(LIMIT).build().unwrap();
        let address = format!("http://127.0.0.1:{port}");
        until("the driver", LIMIT, || async { http.get(format!("{address}/status")).send().await.ok() })
            .await;
        let options = json!({ "binary": tools.tray, "args": ["--panel"] });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "webkitgtk:browserOptions": options } } });
        let answer = http.post(format!("{address}/session")).json(&wanted).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}"));
        let session = format!("{address}/session/{id}");
        Self { http, session }
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, Value> {
        let answer = self.http.post(format!("{}{path}", self.session)).json(&body).send().await.unwrap();
        let well = answer.status().is_success();
        let mut answer: Value = answer.json().await.unwrap();
        let value = answer["value"].take();
        if well { Ok(value) } else { Err(value) }
    }

    async fn element(&self, selector: &str) -> Result<String, Value> {
        let found = self.post("/element", json!({ "using": "css selector", "value": selector })).await?;
        Ok(found[ELEMENT].as_str().unwrap().to_owned())
    }

    /// The text of an element; `None` while there is none. The driver's own question leaves out what may be cut with an ellipsis.
    async fn text(&self, selector: &str) -> Option<String> {
        const SCRIPT: &str = "return document.querySelector(arguments[0])?.innerText ?? null;";
        let asked = json!({ "script": SCRIPT, "args": [selector] });
        Some(self.post("/execute/sync", asked).await.ok()?.as_str()?.to_owned())
    }

    async fn until_text(&self, selector: &str, text: &str) {
        until(&format!("{text:?} in {selector}"), LIMIT, || async {
            self.text(selector).await.filter(|shown| shown.contains(text))
        })
        .await;
    }

    async fn click(&self, selector: &str) {
        let deadline = tokio::time::Instant::now() + LIMIT;
        while let Err(refused) = self.try_click(selector).await {
            if tokio::time::Instant::now() >= deadline {
                panic!("no click on {selector}: {refused}; {}", self.layout(selector).await);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Where an element stands in what scrolls, for the message of a failed click.
    async fn layout(&self, selector: &str) -> Value {
        const SCRIPT: &str = "const [element, main] = [arguments[0], 'main'].map((it) => document.querySelector(it));
            const box = (it) => it && JSON.stringify(it.getBoundingClientRect());
            return { element: box(element), disabled: element?.disabled, main: box(main), scrolled: main?.scrollTop,
                focus: document.activeElement?.outerHTML.slice(0, 200), page: location.hash,
                shown: document.visibilityState };";
        let asked = json!({ "script": SCRIPT, "args": [selector] });
        self.post("/execute/sync", asked).await.unwrap_or_else(|refused| refused)
    }

    async fn try_click(&self, selector: &str) -> Result<Value, Value> {
        self.settle(selector).await?;
        let element = self.element(selector).await?;
        self.post(&format!("/element/{element}/click"), json!({})).await
    }

    /// Waits until the element is drawn, wholly in sight and at rest: nobody clicks what they do not see, or aims at what
    /// still moves. The driver itself scrolls nothing that is partly in sight, and presses where the element was.
    async fn settle(&self, selector: &str) -> Result<Value, Value> {
        const SCRIPT: &str = "const [selector, done] = arguments;
            let last = '', frames = 0;
            const look = () => {
                const element = document.querySelector(selector);
                element?.scrollIntoView({ block: 'nearest' });
                const now = element ? JSON.stringify(element.getBoundingClientRect()) : '';
                frames = now !== '' && now === last ? frames + 1 : 0;
                last = now;
                if (frames < 5) requestAnimationFrame(look);
                else done(now);
            };
            requestAnimationFrame(look);";
        self.post("/execute/async", json!({ "script": SCRIPT, "args": [selector] })).await
    }

    async fn write(&self, selector: &str, text: &str) {
        self.settle(selector).await.unwrap();
        let element = self.element(selector).await.unwrap();
        self.post(&format!("/element/{element}/value"), json!({ "text": text })).await.unwrap();
    }

    async fn close(&self) {
        self.http.delete(&self.session).send().await.unwrap();
    }
}
