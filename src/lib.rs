//! vod-cover: sets the cover of every video uploaded to ApsaraVideo VOD.

pub mod app;
pub mod cli;
pub mod config;
pub mod cover;
pub mod error;
pub mod event;
pub mod gateway;
pub mod ledger;
pub mod local;
pub mod ops;
pub mod pipeline;
pub mod queue;
pub mod sim;
pub mod telemetry;
pub mod tls;
pub mod vod;
pub mod worker;
