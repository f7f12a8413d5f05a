//! The operations that the client knows, and what the account's quota for each is.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/qps-limits>

/// The operations that the client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    UpdateVideoInfo,
    UpdateVideoInfos,
    GetVideoInfo,
    GetVideoInfos,
    ListSnapshots,
    ListAiImageInfo,
    CreateUploadImage,
    GetVideoList,
    SearchMedia,
    SubmitAiImageJob,
    GetAiImageJobs,
    GetAiTemplate,
    CreateUploadVideo,
    UploadMediaByUrl,
    RegisterMedia,
}

impl Operation {
    pub(super) const COUNT: usize = 15;

    /// In the order of their lanes.
    pub const ALL: [Self; Self::COUNT] = [
        Self::UpdateVideoInfo,
        Self::UpdateVideoInfos,
        Self::GetVideoInfo,
        Self::GetVideoInfos,
        Self::ListSnapshots,
        Self::ListAiImageInfo,
        Self::CreateUploadImage,
        Self::GetVideoList,
        Self::SearchMedia,
        Self::SubmitAiImageJob,
        Self::GetAiImageJobs,
        Self::GetAiTemplate,
        Self::CreateUploadVideo,
        Self::UploadMediaByUrl,
        Self::RegisterMedia,
    ];

    /// As in the `Action` parameter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UpdateVideoInfo => "UpdateVideoInfo",
            Self::UpdateVideoInfos => "UpdateVideoInfos",
            Self::GetVideoInfo => "GetVideoInfo",
            Self::GetVideoInfos => "GetVideoInfos",
            Self::ListSnapshots => "ListSnapshots",
            Self::ListAiImageInfo => "ListAIImageInfo",
            Self::CreateUploadImage => "CreateUploadImage",
            Self::GetVideoList => "GetVideoList",
            Self::SearchMedia => "SearchMedia",
            Self::SubmitAiImageJob => "SubmitAIImageJob",
            Self::GetAiImageJobs => "GetAIImageJobs",
            Self::GetAiTemplate => "GetAITemplate",
            Self::CreateUploadVideo => "CreateUploadVideo",
            Self::UploadMediaByUrl => "UploadMediaByURL",
            Self::RegisterMedia => "RegisterMedia",
        }
    }

    /// The operation of this name, in whatever case: settings from the environment have none.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name().eq_ignore_ascii_case(name))
    }

    /// Whether it changes or makes a video, or orders work that costs. A second ticket for the upload of
    /// a picture does no harm.
    pub const fn writes(self) -> bool {
        match self {
            Self::UpdateVideoInfo
            | Self::UpdateVideoInfos
            | Self::SubmitAiImageJob
            | Self::CreateUploadVideo
            | Self::UploadMediaByUrl
            | Self::RegisterMedia => true,
            Self::GetVideoInfo
            | Self::GetVideoInfos
            | Self::ListSnapshots
            | Self::ListAiImageInfo
            | Self::CreateUploadImage
            | Self::GetVideoList
            | Self::SearchMedia
            | Self::GetAiImageJobs
            | Self::GetAiTemplate => false,
        }
    }

    /// Calls a second that one account may make. The look-ups and GetVideoList are inferred from a table
    /// whose names were lost; those for AI images have no documented limit and get the lowest of their
    /// neighbours, as does UploadMediaByURL, which is limited by the day; the two tickets for uploads
    /// have 80 in four regions, and 40 elsewhere.
    pub(super) const fn account_limit(self) -> f64 {
        match self {
            Self::UpdateVideoInfo | Self::GetVideoInfo | Self::GetVideoInfos => 100.0,
            Self::GetVideoList | Self::SearchMedia | Self::RegisterMedia => 50.0,
            Self::CreateUploadImage | Self::CreateUploadVideo => 40.0,
            Self::UpdateVideoInfos
            | Self::ListSnapshots
            | Self::ListAiImageInfo
            | Self::SubmitAiImageJob
            | Self::GetAiImageJobs
            | Self::GetAiTemplate
            | Self::UploadMediaByUrl => 30.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_in_the_order_of_the_operations_and_names_are_theirs() {
        for (lane, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(lane, operation as usize, "{operation:?}");
            assert_eq!(Operation::named(&operation.name().to_lowercase()), Some(operation));
        }
        assert_eq!(Operation::named("DeleteVideo"), None);
    }
}
