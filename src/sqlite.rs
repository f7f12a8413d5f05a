//! SQLite files of our own: opened with their checks and their lock, and worked on by one thread that joins
//! what waits into one commit. What is in a file is for those to know who have one: [`crate::local`] and the
//! gateway's spool.

mod database;
mod file;

pub use database::{Database, PROBE, Trouble};
pub use file::{Format, OpenError, connect, lock, lock_beside, resolve};
