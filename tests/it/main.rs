//! One test binary: every test that needs a server, the network or the program itself.

mod backfill;
mod broker;
mod covers;
mod explain;
mod faults;
mod fetch;
mod late;
mod ledger_contract;
mod local;
mod looking;
mod ownership;
mod pick;
mod pipeline;
mod policy;
mod proxy;
mod queue_contract;
mod rabbit;
mod redis_ledger;
mod servers;
mod simulator;
mod tidy;
mod upload;
mod vod_client;
mod wait;
mod worker;
mod world;
