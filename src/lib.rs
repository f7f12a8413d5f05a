//! vod-cover: sets the cover of every video uploaded to ApsaraVideo VOD.

pub mod cover;
pub mod error;
pub mod event;
pub mod ledger;
pub mod pipeline;
pub mod local;
pub mod queue;
pub mod telemetry;
pub mod tls;
pub mod vod;
pub mod sim;
