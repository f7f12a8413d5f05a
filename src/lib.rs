//! vod-cover sets the cover of every video uploaded to ApsaraVideo VOD: once in effect, without losing an
//! event, and without ever replacing a cover that a person chose.
//!
//! # The map, in reading order
//!
//! | module | what it is |
//! |---|---|
//! | [`error`] | why an event failed, in four classes; pure |
//! | [`event`] | callback JSON to a value; pure |
//! | [`cover`] | rules, policies, whose cover it is, the whole decision; pure |
//! | [`picture`] | what a picture is, and its pixels at the scale at which they are judged; pure |
//! | [`ledger`] | port: what is remembered of each video. Adapters: [`ledger::redis`], [`local`] |
//! | [`link`] | the way to Redis, for the ledger and the fleet's quota |
//! | [`queue`] | port: where events wait. Adapters: [`queue::rabbit`], [`local`], [`queue::replay`] |
//! | [`local`] | one SQLite file that is both a queue and a ledger |
//! | [`sqlite`] | files of our own: checks, lock, and one thread that joins commits |
//! | [`vod`] | the VOD client: signing, credentials, pacing, fifteen operations, joined look-ups, uploads to OSS |
//! | [`fetch`] | pictures in, from allowed hosts and addresses only |
//! | [`inspect`] | candidates looked at: fetched, decoded, ranked |
//! | [`worker`] | one event, start to end; the operator's own choice |
//! | [`story`] | everything that is known of one video |
//! | [`backfill`] | videos whose event never came, walked to and handled like any other |
//! | [`pipeline`] | take, bound, react, settle, pause, drain |
//! | [`dead`] | dead letters, shown to people, tried again or dropped |
//! | [`smq`] | a queue of SMQ, into which VOD can put events instead of calling back |
//! | [`gateway`] | VOD's events in: HTTP callbacks, and what is in SMQ |
//! | [`ops`], [`telemetry`] | health, metrics, logs |
//! | [`config`], [`cli`], [`app`] | what the operator says, and putting it all together |
//! | [`sim`] | a VOD account for tests and the demo, written from the documentation |
//!
//! # The path of one event
//!
//! VOD's callback → [`gateway`] stores it durably, then answers 200 → [`queue`] → [`pipeline`] takes it
//! within its bounds → [`worker`]: [`event::parse`], claim the video in the [`ledger`] and with it what is
//! remembered, do what [`cover::course`] says (find out what [`cover::select::next`] needs until it decides,
//! announce the write, UpdateVideoInfo, record) → [`pipeline`] settles the message by how it ended. VOD tells
//! of the write by a MediaBaseChangeComplete, which comes the same way; [`cover::change`] says what it means.
//!
//! # The dependency rule, kept by `tests/it/tidy.rs`
//!
//! The pure modules import no I/O. [`worker`] never sees a queue, so it cannot acknowledge anything;
//! [`pipeline`] never sees VOD or the ledger, so it cannot know what the work was; [`gateway`] never sees
//! the worker. Ports never import adapters. [`sim`] shares no code with [`vod`]. Only [`app`] knows
//! everything.

// Whether a future may go to another thread is looked up through everything that it holds, which is deep.
#![recursion_limit = "256"]

pub mod app;
pub mod backfill;
mod backoff;
pub mod cli;
pub mod config;
pub mod cover;
pub mod dead;
pub mod error;
pub mod event;
pub mod fetch;
pub mod gateway;
mod gathering;
pub mod inspect;
pub mod ledger;
pub mod link;
pub mod local;
pub mod ops;
pub mod picture;
pub mod pipeline;
pub mod queue;
pub mod sim;
pub mod smq;
pub mod sqlite;
pub mod story;
pub mod telemetry;
pub mod tls;
pub mod vod;
pub mod worker;
