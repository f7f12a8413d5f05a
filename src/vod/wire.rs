//! VOD's answers as they come, read leniently: numbers as strings and the other way round, lists flat,
//! wrapped or missing, unknown members. What decides about somebody's cover is not guessed at: a CoverURL
//! of an odd type is an error, not an absent cover.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The members that every answer may have.
/// <https://www.alibabacloud.com/help/en/vod/developer-reference/responses>
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Envelope {
    #[serde(deserialize_with = "loose_text")]
    pub request_id: Option<String>,
    #[serde(deserialize_with = "loose_text")]
    pub code: Option<String>,
    #[serde(deserialize_with = "loose_text")]
    pub message: Option<String>,
}

/// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-updatevideoinfos>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateVideoInfos {
    #[serde(default, deserialize_with = "list")]
    pub non_exist_video_ids: Vec<String>,
    #[serde(default, deserialize_with = "list")]
    pub forbidden_video_ids: Vec<String>,
}

/// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-getvideoinfo>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetVideoInfo {
    pub video: Video,
}

/// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-getvideoinfos>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetVideoInfos {
    /// Each read by itself, so that one odd video does not spoil the others' answer.
    #[serde(default, deserialize_with = "list")]
    pub video_list: Vec<Box<RawValue>>,
    #[serde(default, deserialize_with = "list")]
    pub non_exist_video_ids: Vec<String>,
}

/// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-getvideolist>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetVideoList {
    #[serde(default, deserialize_with = "number")]
    pub total: Option<f64>,
    /// As in GetVideoInfos.
    #[serde(default, deserialize_with = "list")]
    pub video_list: Vec<Value>,
}

/// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-searchmedia>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SearchMedia {
    #[serde(default, deserialize_with = "number")]
    pub total: Option<f64>,
    #[serde(default, deserialize_with = "loose_text")]
    pub scroll_token: Option<String>,
    #[serde(default, deserialize_with = "list")]
    pub media_list: Vec<Media>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Media {
    #[serde(default)]
    media_id: Value,
    #[serde(default)]
    creation_time: Value,
    #[serde(default)]
    video: Value,
}

impl Media {
    /// The video alone, with what only the medium says of it.
    pub fn video(mut self) -> Value {
        for (name, value) in [("VideoId", self.media_id), ("CreationTime", self.creation_time)] {
            if let Value::Object(members) = &mut self.video {
                members.entry(name).or_insert(value);
            }
        }
        self.video
    }
}

/// A video in GetVideoInfo and GetVideoList (Snapshots wrapped), GetVideoInfos and SearchMedia (flat).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Video {
    #[serde(default, deserialize_with = "text")]
    pub video_id: Option<String>,
    #[serde(rename = "CoverURL", default, deserialize_with = "text")]
    pub cover_url: Option<String>,
    #[serde(default, deserialize_with = "list")]
    pub snapshots: Vec<String>,
    #[serde(default, deserialize_with = "text")]
    pub status: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub title: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub tags: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub cate_id: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub cate_name: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub creation_time: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub modification_time: Option<String>,
    #[serde(default, deserialize_with = "number")]
    pub duration: Option<f64>,
    #[serde(default, deserialize_with = "loose_text")]
    pub app_id: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub template_group_id: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub user_data: Option<String>,
}

/// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-listsnapshots>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListSnapshots {
    pub media_snapshot: MediaSnapshot,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MediaSnapshot {
    #[serde(default, deserialize_with = "number")]
    pub total: Option<f64>,
    #[serde(default, deserialize_with = "text")]
    pub regular: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub creation_time: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub job_id: Option<String>,
    #[serde(default, deserialize_with = "list")]
    pub snapshots: Vec<Snapshot>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Snapshot {
    #[serde(default, deserialize_with = "number")]
    pub index: Option<f64>,
    pub url: String,
}

/// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-listaiimageinfo>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListAiImageInfo {
    #[serde(rename = "AIImageInfoList", default, deserialize_with = "list")]
    pub images: Vec<AiImageInfo>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AiImageInfo {
    #[serde(rename = "AIImageInfoId", default, deserialize_with = "loose_text")]
    pub id: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub job_id: Option<String>,
    #[serde(rename = "FileURL", default, deserialize_with = "loose_text")]
    pub file_url: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub format: Option<String>,
    #[serde(default, deserialize_with = "number")]
    pub score: Option<f64>,
    #[serde(default, deserialize_with = "loose_text")]
    pub version: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub creation_time: Option<String>,
}

/// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-submitaiimagejob>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SubmitAiImageJob {
    #[serde(default, deserialize_with = "loose_text")]
    pub job_id: Option<String>,
}

/// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-getaiimagejobs>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetAiImageJobs {
    #[serde(rename = "AIImageJobList", default, deserialize_with = "list")]
    pub jobs: Vec<AiImageJob>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AiImageJob {
    #[serde(default, deserialize_with = "loose_text")]
    pub job_id: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub video_id: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub status: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub code: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub message: Option<String>,
    /// Text that is JSON.
    #[serde(default)]
    pub template_config: Value,
    /// Text that is a list of [`AiImageResult`].
    #[serde(rename = "AIImageResult", default)]
    pub result: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AiImageResult {
    #[serde(default, deserialize_with = "number")]
    pub score: Option<f64>,
    #[serde(default, deserialize_with = "loose_text")]
    pub url: Option<String>,
}

/// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-getaitemplate>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetAiTemplate {
    pub template_info: TemplateInfo,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TemplateInfo {
    #[serde(default, deserialize_with = "loose_text")]
    pub template_id: Option<String>,
    #[serde(default, deserialize_with = "loose_text")]
    pub template_type: Option<String>,
    /// Text that is JSON.
    #[serde(default)]
    pub template_config: Value,
}

/// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-createuploadvideo>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateUploadVideo {
    pub video_id: String,
}

/// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-uploadmediabyurl>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UploadMediaByUrl {
    #[serde(default, deserialize_with = "list")]
    pub upload_jobs: Vec<UploadJob>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UploadJob {
    #[serde(default, deserialize_with = "loose_text")]
    pub job_id: Option<String>,
}

/// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-registermedia>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegisterMedia {
    #[serde(default, deserialize_with = "list")]
    pub registered_media_list: Vec<RegisteredMedia>,
    #[serde(rename = "FailedFileURLs", default, deserialize_with = "list")]
    pub failed_file_urls: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegisteredMedia {
    pub media_id: String,
    /// `false`: it has been a video before. A boolean, or one as text.
    #[serde(default)]
    pub new_register: Value,
}

/// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-createuploadimage>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateUploadImage {
    #[serde(rename = "ImageURL")]
    pub image_url: String,
    /// Base64 of an [`UploadAddress`].
    pub upload_address: String,
    /// Base64 of an [`UploadAuth`].
    pub upload_auth: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UploadAddress {
    pub endpoint: String,
    pub bucket: String,
    pub file_name: String,
}

/// No `Debug`: it is a key.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UploadAuth {
    pub access_key_id: String,
    pub access_key_secret: String,
    pub security_token: String,
    /// Seen in the wild, not documented.
    #[serde(default, deserialize_with = "loose_text")]
    pub region: Option<String>,
}

/// Text or a number; blank or null is absent, anything else is an error.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(from)? {
        value @ (Value::Array(_) | Value::Object(_) | Value::Bool(_)) => {
            Err(D::Error::custom(format_args!("expected text, found {}", kind(&value))))
        }
        other => Ok(plain(other)),
    }
}

/// For what nothing depends on: anything that is no text is absent.
fn loose_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Value::deserialize(from).map(plain)
}

fn plain(value: Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let number = match Value::deserialize(from)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    Ok(number.filter(|number| number.is_finite()))
}

/// A list as an array; as an object with one member that is the array, which is how XML got into JSON; as
/// text that holds an array, which a documented sample shows; or not at all.
fn list<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Vec<T>, D::Error> {
    let text = Box::<RawValue>::deserialize(from)?;
    // Nearly always it is a plain list.
    let start = text.get().strip_prefix('[').map(str::trim_start);
    if start.is_some_and(|first| !first.starts_with("\"["))
        && let Ok(items) = serde_json::from_str(text.get())
    {
        return Ok(items);
    }
    let mut items = Vec::new();
    let value = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
    flatten(value, 0, &mut items).map_err(D::Error::custom)?;
    items.into_iter().map(|item| serde_json::from_value(item).map_err(D::Error::custom)).collect()
}

/// A list that came where the type of a member is not fixed.
pub fn items<T: DeserializeOwned>(value: Value) -> Result<Vec<T>, serde_json::Error> {
    list(value)
}

fn flatten(value: Value, depth: usize, into: &mut Vec<Value>) -> Result<(), String> {
    match value {
        Value::Null => {}
        Value::Array(items) => {
            for item in items {
                match item {
                    // The sample's artefact: an array that holds one string that is an array.
                    Value::String(text) if text.trim_start().starts_with('[') => {
                        flatten(Value::String(text), depth, into)?;
                    }
                    item => into.push(item),
                }
            }
        }
        Value::String(text) if text.trim().is_empty() => {}
        Value::String(text) if depth < 2 => {
            let inner = serde_json::from_str(&text).map_err(|_| "expected a list, found text")?;
            flatten(inner, depth + 1, into)?;
        }
        Value::Object(members) if members.is_empty() => {}
        Value::Object(members) if members.len() == 1 && depth < 2 => {
            for (_, inner) in members {
                flatten(inner, depth + 1, into)?;
            }
        }
        other => return Err(format!("expected a list, found {}", kind(&other))),
    }
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshots(json: &str) -> Result<Vec<String>, serde_json::Error> {
        let video = format!(r#"{{"VideoId":"a","Snapshots":{json}}}"#);
        serde_json::from_str::<Video>(&video).map(|video| video.snapshots)
    }

    #[test]
    fn a_list_is_read_in_every_form_that_vod_sends() -> Result<(), serde_json::Error> {
        for same in [
            r#"["x","y"]"#,
            r#"{"Snapshot":["x","y"]}"#,
            r#"{"Snapshot":["[\"x\",\"y\"]"]}"#,
            r#""[\"x\",\"y\"]""#,
        ] {
            assert_eq!(snapshots(same)?, ["x", "y"], "{same}");
        }
        for empty in ["[]", "{}", "null", r#""""#, r#"{"Snapshot":[]}"#, r#"{"Snapshot":null}"#] {
            assert!(snapshots(empty)?.is_empty(), "{empty}");
        }
        assert!(snapshots("7").is_err() && snapshots(r#"{"a":["x"],"b":["y"]}"#).is_err());
        Ok(())
    }

    #[test]
    fn a_cover_of_an_odd_type_is_an_error_and_never_an_absent_cover() {
        let cover = |json: &str| {
            let video = format!(r#"{{"VideoId":"a","CoverURL":{json}}}"#);
            serde_json::from_str::<Video>(&video).map(|video| video.cover_url)
        };
        assert!(cover("{}").is_err() && cover("[]").is_err() && cover("false").is_err());
        assert!(matches!(cover("null"), Ok(None)) && matches!(cover(r#"" ""#), Ok(None)));
    }
}
