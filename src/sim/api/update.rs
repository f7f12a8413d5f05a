//! UpdateVideoInfo and UpdateVideoInfos: what they check and change, and the event that follows.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-updatevideoinfo>

use serde_json::{Map, Value, json};

use super::super::account::By;
use super::super::event::{FieldChange, Operate, media_base_change};
use super::super::reply::ApiError;
use super::{Api, check_batch, items, plain_text, read_category};

impl Api<'_> {
    pub(super) fn update_video_info(&mut self) -> Result<Value, ApiError> {
        let params = self.params;
        let id = params.need("VideoId")?;
        let update = Update::read(|name| params.get(name))?;
        self.name(id);
        self.writable(id)?;
        self.apply(id, &update);
        Ok(json!({}))
    }

    pub(super) fn update_video_infos(&mut self) -> Result<Value, ApiError> {
        let content = self.params.need("UpdateContent")?;
        let items = items("UpdateContent", content)?;
        if items.is_empty() {
            return Err(ApiError::missing("UpdateContent"));
        }
        check_batch("UpdateContent", items.len())?;
        let text = |item: &Map<_, _>, name: &str| item.get(name).map(plain_text);
        let mut updates = Vec::with_capacity(items.len());
        for item in &items {
            let id = text(item, "VideoId").filter(|id| !id.is_empty());
            let id = id.ok_or_else(|| ApiError::missing("VideoId"))?;
            let fields = Update::NAMES.map(|name| (name, text(item, name)));
            updates.push((id, fields));
        }
        let updates: Vec<_> = updates
            .iter()
            .map(|(id, fields)| {
                let get = |name| fields.iter().find(|(n, _)| *n == name)?.1.as_deref();
                Ok((id, Update::read(get)?))
            })
            .collect::<Result<_, ApiError>>()?;

        let (mut unknown, mut forbidden) = (Vec::new(), Vec::new());
        for (id, update) in &updates {
            self.name(id);
            match self.account.video(id) {
                None => unknown.push(id),
                Some(video) if video.forbidden => forbidden.push(id),
                Some(_) => self.apply(id, update),
            }
        }
        Ok(json!({
            "NonExistVideoIds": unknown,
            "ForbiddenVideoIds": forbidden,
            "NonExistReferenceIds": [],
        }))
    }

    /// Stores whatever it is given, unchecked, as VOD does with covers.
    fn apply(&mut self, id: &str, update: &Update<'_>) {
        let Some(video) = self.account.video_mut(id) else { return };
        video.modified = self.now;
        let replace = |field: &mut String, new: Option<&str>| {
            let old = std::mem::replace(field, new?.to_owned());
            Some(old).filter(|old| !old.is_empty())
        };
        let title = replace(&mut video.title, update.title);
        let description = replace(&mut video.description, update.description);
        let tags = replace(&mut video.tags, update.tags);
        let old_category = video.category.map(|category| category.to_string());
        let new_category = update.category.map(|category| category.to_string());
        if update.category.is_some_and(|new| video.category != Some(new)) {
            video.category = update.category;
            video.category_name = update.category.map(|new| format!("Category {new}"));
        }
        let cover = update.cover.and_then(|new| self.account.set_cover(id, new, By::Api, self.now));
        let cover = cover.flatten();

        let fields = [
            ("Title", title.as_deref(), update.title),
            ("Description", description.as_deref(), update.description),
            ("Tags", tags.as_deref(), update.tags),
            ("CateId", old_category.as_deref(), new_category.as_deref()),
            ("CoverURL", cover.as_deref(), update.cover),
        ];
        let given = fields.into_iter().filter(|(_, _, new)| new.is_some());
        let changes: Vec<_> =
            given.map(|(name, old, new)| FieldChange { name, old, new }).collect();
        if !changes.is_empty() {
            self.events.push(media_base_change(id, Operate::Update, &changes, self.now));
        }
    }
}

/// What UpdateVideoInfo may change; what is not given stays as it is. An empty CoverURL, whose effect
/// is not documented, is stored as an empty cover here, so that nobody sends one unnoticed.
pub(super) struct Update<'a> {
    pub title: Option<&'a str>,
    pub description: Option<&'a str>,
    pub tags: Option<&'a str>,
    pub cover: Option<&'a str>,
    pub category: Option<i64>,
}

impl<'a> Update<'a> {
    pub const NAMES: [&'static str; 5] = ["Title", "Description", "Tags", "CoverURL", "CateId"];

    pub fn read(get: impl Fn(&'static str) -> Option<&'a str>) -> Result<Self, ApiError> {
        let text = |name, most| match get(name) {
            Some(text) if text.len() > most => Err(ApiError::invalid(name, "it is too long")),
            text => Ok(text),
        };
        let tags = get("Tags");
        if tags.is_some_and(|tags| {
            tags.split(',').count() > 16 || tags.split(',').any(|t| t.len() > 32)
        }) {
            return Err(ApiError::invalid("Tags", "at most 16 of at most 32 bytes are allowed"));
        }
        Ok(Self {
            title: text("Title", 128)?,
            description: text("Description", 1024)?,
            tags,
            cover: get("CoverURL"),
            category: read_category(get("CateId"))?,
        })
    }
}
