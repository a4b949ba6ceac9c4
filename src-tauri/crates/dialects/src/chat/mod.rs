//! Chat completions: how each kind of server takes them ([`Speaks`]), what is asked ([`Body`]) and what comes back ([`Chunk`]).

mod body;
mod chunk;
mod fitting;
mod reader;
mod schema;
mod speaks;

pub use body::{Body, CallOut, Content, Function, Message, Part, ToolChoice, ToolOut};
pub use chunk::{CallPiece, Chunk, Finish, Times, Usage};
pub use reader::{Reader, told_error};
pub use speaks::Speaks;
