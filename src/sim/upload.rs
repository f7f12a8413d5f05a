//! CreateUploadImage and what was uploaded through it: the tickets that the account gave out, each good
//! for one object, and the pictures that came. Plain data; the checks of the upload itself are in `oss`.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-createuploadimage>

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::api::Api;
use super::event::time;
use super::oss::{BUCKET, REGION};
use super::reply::ApiError;
use super::video::mix;

/// How long a ticket works.
const VALIDITY: SignedDuration = SignedDuration::from_secs(3000);
/// Tickets that are kept, with their pictures; the oldest are forgotten.
const MOST: usize = 1_000;

/// A picture that was announced, and perhaps uploaded.
#[derive(Debug, Clone, Serialize)]
pub struct Upload {
    pub image_id: String,
    pub title: String,
    /// Where the picture can be had, without auth_key.
    pub url: String,
    /// Name of the object.
    pub key: String,
    pub stored: Option<Stored>,
    #[serde(skip)]
    pub(super) ticket: Ticket,
}

#[derive(Debug, Clone, Serialize)]
pub struct Stored {
    #[serde(skip)]
    pub bytes: Bytes,
    pub size: usize,
    pub content_type: String,
    /// How often it was put, each time in place of the one before.
    pub times: u32,
}

/// The temporary key that may put one object.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub id: String,
    pub secret: String,
    pub token: String,
    pub expires: Timestamp,
}

impl Ticket {
    pub fn new(now: Timestamp) -> Self {
        Self {
            id: format!("STS.{}", Uuid::new_v4().simple()),
            secret: Uuid::new_v4().simple().to_string(),
            // With every character that a careless client would encode.
            token: format!("CAIS/{}+{}==", Uuid::new_v4().simple(), now.as_second()),
            expires: now.saturating_add(VALIDITY).unwrap_or(Timestamp::MAX),
        }
    }

    /// UploadAddress and UploadAuth for an object: JSON in Base64.
    pub fn written(&self, base: &str, key: &str) -> (String, String) {
        let port = base.rsplit(':').next().unwrap_or_default();
        let address = json!({
            "Endpoint": format!("http://oss-{REGION}.localhost:{port}"),
            "Bucket": BUCKET,
            "FileName": key,
        });
        let auth = json!({
            "AccessKeyId": self.id,
            "AccessKeySecret": self.secret,
            "SecurityToken": self.token,
            "Expiration": VALIDITY.as_secs().to_string(),
            "ExpireUTCTime": time(self.expires),
            "Region": REGION,
        });
        let encode = |value: Value| STANDARD.encode(value.to_string());
        (encode(address), encode(auth))
    }
}

#[derive(Default)]
pub(super) struct Uploads {
    latest: VecDeque<Upload>,
    given: u64,
}

impl Uploads {
    pub fn all(&self) -> Vec<Upload> {
        self.latest.iter().cloned().collect()
    }

    /// The upload that this temporary key is for.
    pub fn of_key(&self, access_key_id: &str) -> Option<&Upload> {
        self.latest.iter().find(|upload| upload.ticket.id == access_key_id)
    }

    /// The picture at a path that begins with a slash.
    pub fn picture(&self, path: &str) -> Option<&Stored> {
        let key = path.strip_prefix('/')?;
        self.latest.iter().find(|upload| upload.key == key)?.stored.as_ref()
    }

    pub fn store(&mut self, key: &str, bytes: Bytes, content_type: String) {
        let Some(upload) = self.latest.iter_mut().find(|upload| upload.key == key) else { return };
        let times = upload.stored.as_ref().map_or(0, |stored| stored.times) + 1;
        upload.stored = Some(Stored { size: bytes.len(), bytes, content_type, times });
    }

    fn add(&mut self, upload: Upload) {
        if self.latest.len() == MOST {
            self.latest.pop_front();
        }
        self.latest.push_back(upload);
    }
}

impl Api<'_> {
    pub(super) fn create_upload_image(&mut self) -> Result<Value, ApiError> {
        let kind = self.params.need("ImageType")?;
        if !["default", "cover"].contains(&kind) {
            return Err(ApiError::invalid("ImageType", "it is neither default nor cover"));
        }
        let extension = self.params.get("ImageExt").filter(|ext| !ext.is_empty()).unwrap_or("png");
        if !["png", "jpg", "jpeg", "gif"].contains(&extension) {
            return Err(ApiError::invalid("ImageExt", "it is not png, jpg, jpeg or gif"));
        }
        let title = self.params.get("Title").unwrap_or_default();
        if title.len() > 128 {
            return Err(ApiError::invalid("Title", "it is too long"));
        }
        let uploads = &mut self.account.uploads;
        uploads.given += 1;
        let number = uploads.given;
        let high = mix(self.account.seed ^ mix(number | 1 << 40));
        let image_id = format!("{high:016X}{:016X}", mix(high));
        let key = format!("image/{kind}/{image_id}-6-2.{extension}");
        let ticket = Ticket::new(self.now);
        let url = self.account.url(&key);
        let (address, auth) = ticket.written(&self.account.base, &key);
        let answer = json!({
            "ImageId": image_id,
            "ImageURL": self.signed(&url),
            "FileURL": format!("http://{BUCKET}.oss-{REGION}.aliyuncs.com/{key}"),
            "UploadAddress": address,
            "UploadAuth": auth,
        });
        let title = title.to_owned();
        self.account.uploads.add(Upload { image_id, title, url, key, stored: None, ticket });
        Ok(answer)
    }
}
