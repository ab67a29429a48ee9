//! Who the containers are: names, images and labels from the engine, and where their cgroups stand.

pub mod cgroups;
pub mod directory;
pub mod discovery;
pub mod docker;
