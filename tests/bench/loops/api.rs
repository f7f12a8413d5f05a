//! Signed calls to the API, and what of an event goes into them.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use jiff::Timestamp;
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use vod_cover::vod::sign::{self, Identity, Request, Signature};

/// Videos in one UpdateVideoInfos.
pub const BATCH: usize = 20;

#[derive(Clone)]
pub struct Api {
    client: Client,
    endpoint: String,
    host: String,
}

/// An entry of UpdateContent.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Update {
    pub video_id: String,
    #[serde(rename = "CoverURL")]
    pub cover_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event<'a> {
    video_id: &'a str,
    #[serde(borrow)]
    snapshot_infos: Vec<Snapshots<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Snapshots<'a> {
    snapshot_type: &'a str,
    snapshot_regular: &'a str,
}

impl Update {
    /// The first snapshot of an event, as the worker chooses it here.
    pub fn read(body: &[u8]) -> Result<Self> {
        let event: Event<'_> = serde_json::from_slice(body)?;
        let mut sets = event.snapshot_infos.iter();
        let Some(set) = sets.find(|set| set.snapshot_type == "CoverSnapshot") else {
            bail!("an event without snapshots")
        };
        let cover_url = set.snapshot_regular.replace("{SnapshotCount}", "00001");
        Ok(Self { video_id: event.video_id.to_owned(), cover_url })
    }
}

impl Api {
    pub fn new() -> Result<Self> {
        let endpoint = super::variable("VOD_ENDPOINT")?;
        let host = endpoint.trim_start_matches("http://").to_owned();
        Ok(Self { client: Client::new(), endpoint, host })
    }

    pub async fn update(&self, update: &Update) -> Result<()> {
        let cover = ("CoverURL", update.cover_url.clone());
        self.call("UpdateVideoInfo", [("VideoId", update.video_id.clone()), cover]).await?;
        Ok(())
    }

    pub async fn update_all(&self, updates: &[Update]) -> Result<()> {
        let content = [("UpdateContent", serde_json::to_string(updates)?)];
        let answer = self.call("UpdateVideoInfos", content).await?;
        if !answer.contains(r#""NonExistVideoIds":[]"#) {
            bail!("some videos do not exist: {answer}");
        }
        Ok(())
    }

    async fn call(
        &self,
        action: &str,
        parameters: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<String> {
        let parameters = BTreeMap::from_iter(parameters);
        let request = Request {
            method: "POST",
            host: &self.host,
            version: "2017-03-21",
            action,
            parameters: &parameters,
        };
        let identity = Identity {
            access_key_id: "testid",
            access_key_secret: "testsecret",
            security_token: None,
        };
        let nonce = uuid::Uuid::new_v4().to_string();
        let signed = sign::sign(Signature::HmacSha1, &request, &identity, Timestamp::now(), &nonce);
        let call = self.client.post(&self.endpoint).body(signed.query);
        let answer = call.header(CONTENT_TYPE, "application/x-www-form-urlencoded").send().await?;
        let ok = answer.status().is_success();
        let text = answer.text().await?;
        if !ok {
            bail!("{action} failed: {text}");
        }
        Ok(text)
    }
}
