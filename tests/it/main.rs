//! One test binary: every test that needs a server, the network or the program itself.

mod backfill;
mod broker;
mod browser;
mod covers;
mod dead;
mod deploy;
mod explain;
mod faults;
mod fetch;
mod gateway;
mod late;
mod ledger_contract;
mod local;
mod looking;
mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
mod ownership;
mod page;
mod pick;
mod pipeline;
mod policy;
mod proxy;
mod queue_contract;
mod rabbit;
mod readme;
mod redis_ledger;
mod reload;
mod servers;
mod simulator;
mod tidy;
mod upload;
mod vod_client;
mod wait;
mod worker;
mod world;
