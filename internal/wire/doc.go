// Package wire knows the bytes of the PostgreSQL protocol as far as a relay
// has to know them, and no further: it never decodes a result and never reads
// ahead of what it was asked for.
//
// The life of a client connection, as this package sees it:
//
//  1. [Opening] reads start-up packets, exactly as many bytes as each has:
//     SSLRequest and GSSENCRequest at most once each, then a StartupMessage or
//     a CancelRequest. Nothing is read ahead, so whatever was stuffed behind
//     an SSLRequest goes to the TLS handshake and fails there.
//  2. [Startup] keeps the client's own parameters in their order, duplicates
//     included, and [Startup.Encode] writes them for the server byte for byte,
//     less the proxy's own keys.
//  3. [Scanner] walks the five-byte headers of whole reads in both directions
//     and says where messages begin and end. Only bodies that must be seen are
//     shown, from the chunk itself or, when split over reads, from a small
//     bounded buffer.
//  4. [Unit] is what the proxy says to the server between two messages of the
//     client; [UnitReader] eats the answers to it and lets through what is
//     not an answer.
//  5. [Failure] is the end of a connection that the proxy itself brings about:
//     one kind, one SQLSTATE, one label, one sentence.
package wire
