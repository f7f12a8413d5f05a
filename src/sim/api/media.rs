//! Bringing videos into the account: CreateUploadVideo, UploadMediaByURL and RegisterMedia. What they name
//! is never fetched, and a picture's address is stored unchecked.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-createuploadvideo>,
//! <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-uploadmediabyurl>,
//! <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-registermedia>

use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::super::event::upload_by_url;
use super::super::reply::ApiError;
use super::super::text::Text;
use super::super::upload::Ticket;
use super::super::video::{NewVideo, StartingCover, mix};
use super::update::Update;
use super::{Api, check_batch, check_count, items, plain_text};

/// Entries of RegisterMetadatas.
const MAX_REGISTERED: usize = 10;

/// The parameters of an upload, from the request or from an entry of its metadata.
type Get<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Api<'_> {
    pub(super) fn create_upload_video(&mut self) -> Result<Value, ApiError> {
        let params = self.params;
        params.need("Title")?;
        let file = params.need("FileName")?;
        let extension = file.rsplit_once('.').map(|(_, extension)| extension);
        let Some(extension) = extension.filter(|extension| !extension.is_empty()) else {
            let message = "The extension of FileName is illegal.";
            return Err(ApiError::new(400, "InvalidFileName.Extension", message));
        };
        let new = read(&|name| params.get(name).map(str::to_owned))?;
        // VOD takes snapshots, and one of them as the cover, when the file has come.
        let cover = match new.cover {
            StartingCover::Default => StartingCover::None,
            given => given,
        };
        let id = self.add(NewVideo { status: "Uploading".to_owned(), cover, ..new })?;
        let key = format!("sv/{id}/{id}.{extension}");
        let (address, auth) = Ticket::new(self.now).written(&self.account.base, &key);
        Ok(json!({ "VideoId": &*id, "UploadAddress": address, "UploadAuth": auth }))
    }

    pub(super) fn upload_media_by_url(&mut self) -> Result<Value, ApiError> {
        let params = self.params;
        let urls: Vec<_> = params.need("UploadURLs")?.split(',').map(decoded).collect();
        check_batch("UploadURLs", urls.len())?;
        let metadata = match params.get("UploadMetadatas").filter(|text| !text.is_empty()) {
            None => Vec::new(),
            Some(text) => items("UploadMetadatas", text)?,
        };
        let mut new = Vec::with_capacity(urls.len());
        for url in urls {
            let about = metadata.iter().find(|item| item.get("SourceURL") == Some(&json!(url)));
            new.push((self.read_item(about)?, url));
        }
        let mut jobs = Vec::with_capacity(new.len());
        for (new, url) in new {
            let id = self.add(new)?;
            let number = self.account.video(&id).map_or(0, |video| video.number);
            let high = mix(self.account.seed ^ mix(number | 1 << 42));
            let job = format!("{high:016x}{:016x}", mix(high));
            self.events.push(upload_by_url(&job, &id, &url, self.now));
            jobs.push(json!({ "JobId": job, "SourceURL": url }));
        }
        Ok(json!({ "UploadJobs": jobs }))
    }

    pub(super) fn register_media(&mut self) -> Result<Value, ApiError> {
        let metadata = items("RegisterMetadatas", self.params.need("RegisterMetadatas")?)?;
        if metadata.is_empty() {
            return Err(ApiError::missing("RegisterMetadatas"));
        }
        check_count("RegisterMetadatas", metadata.len(), MAX_REGISTERED)?;
        let mut new = Vec::with_capacity(metadata.len());
        for item in &metadata {
            let url = item.get("FileURL").map(plain_text).filter(|url| !url.is_empty());
            let url = url.ok_or_else(|| ApiError::missing("FileURL"))?;
            if !item.contains_key("Title") {
                return Err(ApiError::missing("Title"));
            }
            new.push((self.read_item(Some(item))?, url));
        }
        let mut list = Vec::with_capacity(new.len());
        for (new, url) in new {
            // A file is one video, however often it is registered.
            let known = self.account.registered.get(&url).cloned();
            let known = known.filter(|id| self.account.video(id).is_some());
            let is_new = known.is_none();
            let id = match known {
                Some(id) => {
                    self.named.push(id.clone());
                    id
                }
                None => self.add(new)?,
            };
            list.push(json!({ "MediaId": &*id, "FileURL": url, "NewRegister": is_new }));
            self.account.registered.insert(url, id);
        }
        Ok(json!({ "RegisteredMediaList": list, "FailedFileURLs": [] }))
    }

    /// An entry of the metadata. TemplateGroupId and UserData may be given for the whole call.
    fn read_item(&self, item: Option<&Map<String, Value>>) -> Result<NewVideo, ApiError> {
        read(&|name| {
            let own = item.and_then(|item| item.get(name)).map(plain_text);
            let common = ["TemplateGroupId", "UserData"].contains(&name);
            own.or_else(|| self.params.get(name).filter(|_| common).map(str::to_owned))
        })
    }

    /// Adds a video, and tells of it.
    fn add(&mut self, new: NewVideo) -> Result<Text, ApiError> {
        let cover = new.cover.clone();
        let added = self.account.add(new, self.now);
        let id = added.map_err(|error| ApiError::new(500, "InternalError", error.to_string()))?;
        self.named.push(id.clone());
        self.events.extend(self.account.created(&id, cover.given(), self.now));
        Ok(id)
    }
}

/// What VOD checks and keeps of an upload.
fn read(get: Get<'_>) -> Result<NewVideo, ApiError> {
    let fields = Update::NAMES.map(|name| (name, get(name)));
    let field = |name| fields.iter().find(|(n, _)| *n == name)?.1.as_deref();
    let update = Update::read(field)?;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let cover = update.cover.filter(|cover| !cover.is_empty());
    let user_data: Option<Value> =
        get("UserData").and_then(|text| serde_json::from_str(&text).ok());
    Ok(NewVideo {
        title: update.title.map(str::to_owned),
        description: text(update.description),
        tags: text(update.tags),
        category: update.category,
        template_group: get("TemplateGroupId").filter(|group| !group.is_empty()),
        cover: cover.map_or(StartingCover::Default, |url| StartingCover::Given(url.to_owned())),
        extend: user_data.and_then(|data| data.get("Extend").cloned()),
        ..NewVideo::default()
    })
}

/// The addresses are encoded once more in the list; whoever does not is understood too.
fn decoded(url: &str) -> String {
    if url.contains("://") {
        return url.to_owned();
    }
    let mut pairs = form_urlencoded::parse(url.as_bytes());
    pairs.next().map_or_else(String::new, |(url, _)| url.into_owned())
}
