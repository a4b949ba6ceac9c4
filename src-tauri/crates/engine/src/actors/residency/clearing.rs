//! What is on its way out of memory.

use futures_util::future::{BoxFuture, Shared};

/// A stray on its way out of memory, for whoever must not come before its end. It is bounded itself.
pub(super) type Clearing = Shared<BoxFuture<'static, ()>>;
