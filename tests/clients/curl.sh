#!/bin/sh
# One client of the matrix: curl by hand, `curl.sh VERSION URL TOOL ARGUMENTS` with VERSION `http1.1` or `http2`. An
# `initialize`, a list, a call, the call's stream once more by its first event's id, the end of the session, and what comes
# after it. Prints statuses, the fields that matter and bodies; what differs from session to session is made the same.
set -u
version=$1 url=$2 tool=$3 arguments=$4
session= answered=0

ask() {
    title=$1 method=$2 body=$3
    shift 3
    answer=$(curl --silent --show-error --"$version" --max-time 20 --include --request "$method" \
        --header 'accept: application/json, text/event-stream' ${session:+--header "mcp-session-id: $session"} \
        ${body:+--header 'content-type: application/json' --data-binary "$body"} "$@" "$url" 2>/dev/null)
    answer=$(printf '%s' "$answer" | tr -d '\r')
    echo "== $title"
    printf '%s\n' "$answer" | sed -E \
        -e "s/${session:-no session}/SESSION/g" -e 's/^id: .*/id: EVENT/' \
        -e '/^(date|keep-alive|connection|transfer-encoding|content-length|etag|x-powered-by): /Id' \
        -e 's/^mcp-session-id: .*/mcp-session-id: SESSION/' -e 's/^([A-Z][A-Za-z-]*): /\L\1: /' -e '/^$/d'
}

ask initialize POST '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"curl","version":"1"}}}'
case $answer in *'"protocolVersion"'*) answered=1 ;; esac
session=$(printf '%s\n' "$answer" | sed -n 's/^mcp-session-id: //Ip' | head -n 1)
ask initialized POST '{"jsonrpc":"2.0","method":"notifications/initialized"}'
ask list POST '{"jsonrpc":"2.0","id":2,"method":"tools/list"}'
ask call POST "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"tools/call\",\"params\":{\"name\":\"$tool\",\"arguments\":$arguments,\"_meta\":{\"progressToken\":7}}}"
event=$(printf '%s\n' "$answer" | sed -n 's/^id: *//p' | head -n 1)
if [ -n "$session" ] && [ -n "$event" ]; then
    # A stream that is resumed may stay open: what comes within two seconds counts.
    ask resume GET '' --header "last-event-id: $event" --max-time 2
fi
own=$session session=unknown
ask 'an unknown session' POST '{"jsonrpc":"2.0","id":4,"method":"tools/list"}'
session=$own
if [ -n "$session" ]; then
    ask end DELETE ''
    ask after POST '{"jsonrpc":"2.0","id":5,"method":"tools/list"}'
fi
[ $answered = 1 ]
