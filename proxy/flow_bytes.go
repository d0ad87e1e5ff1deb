package proxy

// keep keeps p, of which the first admitted bytes may be written already, until
// the server has room or the gate opens.
func (f *flow) keep(p []byte, admitted int) {
	f.admitted = admitted
	if f.inBuf != nil {
		f.in = p // where it was
		return
	}
	f.in, f.inBuf = f.l.own(p)
}

// free gives back what keep took.
func (f *flow) free() {
	f.in, f.admitted = nil, 0
	if f.inBuf != nil {
		f.s.p.putBuffer(f.inBuf)
		f.inBuf = nil
	}
}

// own gives p memory that outlives the loop's next read: a copy when it is
// small, else the loop's buffer itself, which is replaced.
func (l *loop) own(p []byte) ([]byte, *[]byte) {
	if len(p) <= smallBuffer {
		b := l.p.getBuffer(false)
		return (*b)[:copy(*b, p)], b
	}
	if !within(p, *l.buf) {
		return p, nil // made for this chunk alone
	}
	b := l.buf
	l.buf = l.p.getBuffer(true)
	return p, b
}

// within tells whether p is a part of buf that reaches to its end in capacity.
func within(p, buf []byte) bool {
	return cap(p) > 0 && &p[:cap(p)][cap(p)-1] == &buf[:cap(buf)][cap(buf)-1]
}

// writeAdmitted goes on with what the gate has let through.
func (f *flow) writeAdmitted() {
	n, err := f.server.write(f.in[:f.admitted])
	if err != nil {
		f.s.writing.Store(false)
		f.free()
		f.clientEnds(&serverError{err})
		return
	}
	f.in, f.admitted = f.in[n:], f.admitted-n
	if f.admitted > 0 {
		return
	}
	f.s.writing.Store(false)
	if f.after != nil {
		f.free()
		f.clientEnds(f.after)
		return
	}
	if len(f.in) == 0 {
		f.free()
	}
	f.open = true
}

// writeUnit goes on with an injected unit.
func (f *flow) writeUnit() {
	n, err := f.server.write(f.unit)
	if f.unit = f.unit[n:]; len(f.unit) > 0 && err == nil {
		return
	}
	f.unit = nil
	if err != nil && !f.client.over {
		f.clientEnds(&serverError{err})
	}
}

// toClient writes b, behind what waits already. What the client does not take
// now is kept, and the server read no further until it has.
func (f *flow) toClient(b []byte) error {
	if len(f.out) > 0 {
		f.out = append(f.out, b...)
		return nil
	}
	n, err := f.client.write(b)
	if err == nil && n < len(b) {
		f.out, f.outBuf = f.l.own(b[n:])
	}
	return err
}

// writeOut goes on with what waits for the client.
func (f *flow) writeOut() {
	var err error
	if f.client.unsent() {
		err = f.client.flush()
	} else {
		var n int
		n, err = f.client.write(f.out)
		f.out = f.out[n:]
	}
	if (len(f.out) > 0 || f.client.unsent()) && err == nil {
		return
	}
	f.freeOut()
	switch {
	case f.ending:
		f.s.abort(f.cause)
	case err != nil && !f.server.over:
		f.serverEnds(&clientError{err})
	}
}

func (f *flow) freeOut() {
	f.out = nil
	if f.outBuf != nil {
		f.s.p.putBuffer(f.outBuf)
		f.outBuf = nil
	}
}
