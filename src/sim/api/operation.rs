//! The names of the operations that the simulator knows.

/// The operations that the simulator knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    UpdateVideoInfo,
    UpdateVideoInfos,
    GetVideoInfo,
    GetVideoInfos,
    ListSnapshots,
    ListAiImageInfo,
    GetVideoList,
    SearchMedia,
    SubmitAiImageJob,
    GetAiImageJobs,
    GetAiTemplate,
    CreateUploadImage,
    CreateUploadVideo,
    UploadMediaByUrl,
    RegisterMedia,
    /// OSS's, not VOD's.
    PutObject,
    /// The picture domain's.
    GetPicture,
    /// These are SMQ's.
    BatchReceiveMessage,
    BatchDeleteMessage,
    GetQueueAttributes,
}

impl Operation {
    pub(in crate::sim) const ALL: [Self; 20] = [
        Self::UpdateVideoInfo,
        Self::UpdateVideoInfos,
        Self::GetVideoInfo,
        Self::GetVideoInfos,
        Self::ListSnapshots,
        Self::ListAiImageInfo,
        Self::GetVideoList,
        Self::SearchMedia,
        Self::SubmitAiImageJob,
        Self::GetAiImageJobs,
        Self::GetAiTemplate,
        Self::CreateUploadImage,
        Self::CreateUploadVideo,
        Self::UploadMediaByUrl,
        Self::RegisterMedia,
        Self::PutObject,
        Self::GetPicture,
        Self::BatchReceiveMessage,
        Self::BatchDeleteMessage,
        Self::GetQueueAttributes,
    ];

    /// Its Action.
    pub fn name(self) -> &'static str {
        match self {
            Self::UpdateVideoInfo => "UpdateVideoInfo",
            Self::UpdateVideoInfos => "UpdateVideoInfos",
            Self::GetVideoInfo => "GetVideoInfo",
            Self::GetVideoInfos => "GetVideoInfos",
            Self::ListSnapshots => "ListSnapshots",
            Self::ListAiImageInfo => "ListAIImageInfo",
            Self::GetVideoList => "GetVideoList",
            Self::SearchMedia => "SearchMedia",
            Self::SubmitAiImageJob => "SubmitAIImageJob",
            Self::GetAiImageJobs => "GetAIImageJobs",
            Self::GetAiTemplate => "GetAITemplate",
            Self::CreateUploadImage => "CreateUploadImage",
            Self::CreateUploadVideo => "CreateUploadVideo",
            Self::UploadMediaByUrl => "UploadMediaByURL",
            Self::RegisterMedia => "RegisterMedia",
            Self::PutObject => "PutObject",
            Self::GetPicture => "GetPicture",
            Self::BatchReceiveMessage => "BatchReceiveMessage",
            Self::BatchDeleteMessage => "BatchDeleteMessage",
            Self::GetQueueAttributes => "GetQueueAttributes",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }
}
