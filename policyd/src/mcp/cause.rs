//! What can be wrong with a message, in words that stay the same in metrics, records and replies.

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident $word:literal $sentence:literal;)*) => {
        /// What is wrong with a message, its body or its headers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Cause { $($(#[$doc])* $name,)* }

        impl Cause {
            /// Every cause, for tables of metrics.
            pub const ALL: &[Cause] = &[$(Cause::$name,)*];

            /// A stable word in kebab case, for metrics and records.
            pub fn word(self) -> &'static str {
                match self { $(Cause::$name => $word,)* }
            }

            /// What a person is told: lower case, no full stop.
            pub fn sentence(self) -> &'static str {
                match self { $(Cause::$name => $sentence,)* }
            }
        }
    };
}

causes! {
    // The JSON text.
    /// No bytes but white space.
    Empty "empty" "the body is empty";
    /// More than 4 GiB: places are kept in 32 bits. The proxy's own bound is far below.
    TooLarge "too-large" "the body is too large";
    /// Not UTF-8, UTF-16 and UTF-32 included.
    NotUtf8 "not-utf8" "the body is not UTF-8";
    /// A byte order mark: some readers skip it, others fail.
    ByteOrderMark "byte-order-mark" "the body starts with a byte order mark";
    /// Not JSON by RFC 8259's grammar; `NaN`, comments and trailing commas too.
    Syntax "syntax" "the body is not JSON";
    /// The text ends inside a value.
    Truncated "truncated" "the body ends inside a JSON value";
    /// Something after the value.
    TrailingBytes "trailing-bytes" "something follows the JSON value";
    /// More than 64 levels.
    TooDeep "too-deep" "the JSON is nested more than 64 levels deep";
    /// A control character within a string.
    ControlCharacter "control-character" "a string holds an unescaped control character";
    /// An escape that JSON does not know.
    BadEscape "bad-escape" "a string holds an invalid escape";
    /// Half of a surrogate pair.
    LoneSurrogate "lone-surrogate" "a string holds half of a surrogate pair";
    /// A number outside JSON's grammar: leading zeros, `+1`, `.5`, `1.`.
    BadNumber "bad-number" "a number is not written as JSON writes numbers";
    /// A number that readers with floats take for infinity.
    NumberRange "number-range" "a number is too large for a double";
    /// A key twice in one object, after unescaping: readers differ on which counts.
    DuplicateKey "duplicate-key" "an object holds a key twice";
    /// U+0000 in a key: C strings end there.
    NulInKey "nul-in-key" "a key holds a NUL character";

    // The JSON-RPC envelope.
    /// An array of messages where it is not known that 2025-03-26 was agreed on.
    Batch "batch" "batches of messages are accepted only under revision 2025-03-26";
    /// An array of no message.
    EmptyBatch "empty-batch" "a batch must hold a message";
    /// An array of more messages than anybody needs.
    LongBatch "long-batch" "a batch may hold no more than 100 messages";
    /// `initialize` in an array.
    BatchedInitialize "batched-initialize" "`initialize` must not be part of a batch";
    /// Two requests of a batch whose ids are the same, to loose readers.
    RepeatedId "repeated-id" "two requests of a batch have the same `id`";
    /// Neither object nor array.
    NotAnObject "not-an-object" "a message must be a JSON object";
    /// `jsonrpc` absent or not the string `2.0`.
    Version "jsonrpc-version" "`jsonrpc` must be the string `2.0`";
    /// A top-level key that JSON-RPC does not define.
    UnknownKey "unknown-key" "the message holds a key that JSON-RPC does not define";
    /// A key that differs from a protocol key only by case or folding: some readers take it for that key.
    KeyVariant "key-variant" "a key differs from a protocol key only by case";
    /// Members of a request and of a response, or `result` beside `error`.
    Hybrid "hybrid" "the message is a request and a response at once";
    /// Neither `method`, `result` nor `error`.
    NoKind "no-kind" "the message is neither request nor response";
    /// An id that is neither a string nor an integer.
    BadId "bad-id" "`id` must be a string or an integer";
    /// A response without id.
    MissingId "missing-id" "a response must have an `id`";
    /// `method` is not a string, or empty.
    BadMethod "bad-method" "`method` must be a string";
    /// A method that differs from one of MCP's only by case, folding, or white space and control characters around it or
    /// behind it: some servers take it for that one.
    MethodVariant "method-variant" "`method` differs from one of MCP's only by case, or by characters that do not show";
    /// `params` is not an object.
    ParamsNotObject "params-not-object" "`params` must be an object";
    /// `arguments` is not an object.
    ArgumentsNotObject "arguments-not-object" "`arguments` must be an object";
    /// `_meta` is not an object.
    MetaNotObject "meta-not-object" "`_meta` must be an object";
    /// `result` or `error` is not an object.
    ResultNotObject "result-not-object" "`result` and `error` must be objects";
    /// A `tools/call` without id: nobody should execute it.
    CallWithoutId "call-without-id" "a `tools/call` must have an `id`";
    /// A `tools/call` whose `name` is not a string.
    BadToolName "bad-tool-name" "a `tools/call` must name its tool in a string";
    /// `inputResponses` or `inputRequests` is not an object.
    BadInputs "bad-inputs" "`inputRequests` and `inputResponses` must be objects";
    /// More requests in one result than anybody can answer.
    ManyInputs "many-inputs" "a result may hold no more than 100 requests";
    /// A tool list with an entry that has no name.
    BadToolList "bad-tool-list" "a tool list holds an entry without a name";
    /// A list of resources, templates or prompts with an entry of which it cannot be told what it is.
    BadList "bad-list" "a list of resources or prompts holds an entry without a URI or a name";

    // The line, on stdio.
    /// A carriage return within a line.
    CarriageReturn "carriage-return" "the line holds a carriage return, which some readers take for its end";
    /// A line beyond the bound.
    LineTooLong "line-too-long" "the line is too long";

    // The HTTP head.
    /// Not exactly `application/json`.
    MediaType "media-type" "the media type must be `application/json`";
    /// A parameter other than `charset=utf-8`.
    MediaTypeParameter "media-type-parameter" "the media type may have no parameter but `charset=utf-8`";
    /// A Content-Encoding other than identity.
    ContentEncoding "content-encoding" "the body must not be encoded";
    /// A header twice that may be given once.
    RepeatedHeader "repeated-header" "a header that may be given once is given more often";
    /// A header name that some servers take for a protocol header (`mcp_session_id`).
    HeaderVariant "header-variant" "a header's name differs from a protocol header only by `_`";
    /// Content-Length beside Transfer-Encoding, more than one length, or one that is not a plain number.
    BodyLength "body-length" "the body's length is not given in one clear way";
    /// Bytes that the header's value may not hold, or a bad encoding of it.
    BadHeaderValue "bad-header-value" "a protocol header's value is not valid";
    /// A mirror header that says something else than the body.
    HeaderMismatch "header-mismatch" "a header disagrees with the body";

    // HTTP itself.
    /// A head that is not written as RFC 9112 writes it: bare LF, NUL, obsolete folds, white space before a colon …
    BadHead "bad-head" "the request's head is not well-formed";
    /// More than `limits.head` bytes or `limits.headers` fields.
    HeadTooLarge "head-too-large" "the request's head is too large";
    /// A transfer coding other than `chunked`, or given more than once.
    TransferEncoding "transfer-encoding" "`Transfer-Encoding` may only be `chunked`";
    /// Chunks that are not well-formed, with extensions or with trailers.
    BadChunk "bad-chunk" "the body's chunks are not well-formed";
    /// A body that broke off, or is not as long as it was said to be.
    BrokenBody "broken-body" "the body did not arrive whole";
    /// A body that took longer than `timeouts.request`.
    SlowBody "slow-body" "the body did not arrive in time";
    /// CONNECT, or an upgrade to WebSocket or another protocol.
    Upgrade "upgrade" "upgrades to other protocols are not policed, so they are refused";
    /// `Host` or `:authority` missing, given twice, or another server than the connection's.
    Misdirected "misdirected" "the request is not for the server of its connection";
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.sentence())
    }
}
