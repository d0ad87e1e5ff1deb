package sql

import (
	"encoding/csv"
	"errors"
	"strings"
)

// delimiter and null are the given ones, or those of the format.
func (c *Copy) delimiter() byte {
	switch {
	case c.Delimiter != "":
		return c.Delimiter[0]
	case c.Format == "csv":
		return ','
	}
	return '\t'
}

func (c *Copy) null() string {
	switch {
	case c.NullSet:
		return c.Null
	case c.Format == "csv":
		return ""
	}
	return `\N`
}

// EncodeCopyRow writes a row for COPY … TO in the format of c (text or csv),
// its line end included.
func EncodeCopyRow(c *Copy, row []Value, cols []Column) []byte {
	var dst []byte
	delim, null := c.delimiter(), c.null()
	for i, v := range row {
		if i > 0 {
			dst = append(dst, delim)
		}
		switch {
		case v == nil:
			dst = append(dst, null...)
		case c.Format == "csv":
			dst = appendCSV(dst, string(EncodeText(v, cols[i].Type)), delim, null)
		default:
			dst = appendCopyText(dst, string(EncodeText(v, cols[i].Type)), delim)
		}
	}
	return append(dst, '\n')
}

func appendCSV(dst []byte, s string, delim byte, null string) []byte {
	if s != null && !strings.ContainsAny(s, "\"\r\n") && strings.IndexByte(s, delim) < 0 {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(s, `"`, `""`)...)
	return append(dst, '"')
}

// copyEscapes are the characters COPY's text format writes with a backslash.
var copyEscapes = map[byte]byte{'\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't', '\v': 'v', '\\': '\\'}

func appendCopyText(dst []byte, s string, delim byte) []byte {
	for i := range len(s) {
		if e, ok := copyEscapes[s[i]]; ok {
			dst = append(dst, '\\', e)
			continue
		}
		if s[i] == delim {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return dst
}

// DecodeCopyRow reads one line of COPY … FROM, without its line end. cols are
// the columns in the order of the data. A CSV line must hold the whole record.
func DecodeCopyRow(c *Copy, line []byte, cols []Column) ([]Value, error) {
	var fields []copyField
	var err error
	if c.Format == "csv" {
		fields, err = splitCSV(string(line), c.delimiter(), c.null())
	} else {
		fields = splitCopyText(string(line), c.delimiter(), c.null())
	}
	if err != nil {
		return nil, err
	}
	switch {
	case len(fields) < len(cols):
		return nil, &Error{Code: "22P04", Message: "missing data for column"}
	case len(fields) > len(cols):
		return nil, &Error{Code: "22P04", Message: "extra data after last expected column"}
	}
	row := make([]Value, len(cols))
	for i, f := range fields {
		if f.null {
			if !cols[i].Nullable {
				return nil, &Error{Code: "23502", Message: "null value in column " + rustQuote(cols[i].Name) + " violates not-null constraint"}
			}
			continue
		}
		if row[i], err = parseText(f.text, cols[i].Type); err != nil {
			return nil, &Error{Code: "22P04", Message: "unable to decode column: " + textOf(err)}
		}
	}
	return row, nil
}

// textOf is an error's message without its SQLSTATE.
func textOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Message
	}
	return err.Error()
}

type copyField struct {
	text string
	null bool
}

func splitCopyText(line string, delim byte, null string) []copyField {
	var fields []copyField
	var b strings.Builder
	start := 0
	flush := func(end int) {
		fields = append(fields, copyField{b.String(), line[start:end] == null})
		b.Reset()
		start = end + 1
	}
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == delim:
			flush(i)
		case line[i] == '\\' && i+1 < len(line):
			i++
			b.WriteByte(unescapeCopy(line[i]))
		default:
			b.WriteByte(line[i])
		}
	}
	flush(len(line))
	return fields
}

func unescapeCopy(c byte) byte {
	for plain, e := range copyEscapes {
		if e == c {
			return plain
		}
	}
	return c
}

func splitCSV(line string, delim byte, null string) ([]copyField, error) {
	r := csv.NewReader(strings.NewReader(line))
	r.Comma = rune(delim)
	r.FieldsPerRecord = -1
	r.LazyQuotes = false
	texts, err := r.Read()
	if err != nil {
		if line == "" {
			return []copyField{{"", null == ""}}, nil
		}
		return nil, &Error{Code: "22P04", Message: "invalid CSV data: " + err.Error()}
	}
	fields := make([]copyField, len(texts))
	for i, t := range texts {
		_, col := r.FieldPos(i)
		quoted := col-2 >= 0 && col-2 < len(line) && line[col-2] == '"' || col-1 < len(line) && line[col-1] == '"'
		fields[i] = copyField{t, t == null && !quoted}
	}
	return fields, nil
}
