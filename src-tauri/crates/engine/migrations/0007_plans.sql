-- Conversations: the turn of a request, and whether its beginning may come from the server's cache. NULL: of no conversation.

ALTER TABLE trial ADD COLUMN turn INTEGER;
ALTER TABLE trial ADD COLUMN prefix TEXT CHECK (prefix IS NULL OR prefix IN ('kept', 'new'));
