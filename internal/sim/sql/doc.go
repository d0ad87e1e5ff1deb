// Package sql is the language of the simulated Materialize: a lexer, a parser
// for the statements a deployment and its clients use, a describer and an
// evaluator of queries, and the text and binary encodings of their values.
//
// It knows no session, no catalog and no socket. Names become relations, and
// functions that depend on a session become values, through a [Resolver].
//
// The life of a query:
//
//  1. [Parse] turns the text of one simple Query into statements; one syntax
//     error and nothing of it runs.
//  2. [Query.Plan] (or [Query.Describe]) resolves names, infers the types of
//     columns and parameters and reports every error a server finds before it
//     sends a RowDescription.
//  3. [Plan.Eval] (or [Query.Eval], which plans anew) reads the relations and
//     computes the rows; what fails here fails after the RowDescription.
//  4. [EncodeText] and [EncodeBinary] write the values for the wire,
//     [DecodeText] and [DecodeBinary] read parameters from it.
//
// What the language lacks is refused with SQLSTATE 0A000 and a message that
// starts with "mzcanary simulator:"; it never answers wrongly instead.
package sql
