//! From nothing to a running agent, on each of the ways that the README names; and what is shipped for them is sound.

mod image;
mod names;
mod privileges;
mod program;
mod static_binary;
mod witness;
