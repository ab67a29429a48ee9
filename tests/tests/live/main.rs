//! The live view: the stream of records, who may see it, and what shows it: `tail`, `top` and the page.

mod access;
mod browser;
mod fleet;
mod page;
mod stream;
mod tail;
mod terminal;
mod top;
mod viewer;
