package sim

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// authenticate asks for what the kind wants; its error is the FATAL the client gets.
func (a Auth) authenticate(se *session, b *pgproto3.Backend) error {
	password, known := se.s.faults.passwordOf(se.user)
	if !known {
		password, known = a.Passwords[se.user]
	}
	switch a.Kind {
	case AuthCleartext:
		got, err := se.askPassword(b, &pgproto3.AuthenticationCleartextPassword{}, pgproto3.AuthTypeCleartextPassword)
		if err != nil {
			return err
		}
		if !known || !hmac.Equal([]byte(got), []byte(password)) {
			return errPassword()
		}
	case AuthMD5:
		var salt [4]byte
		binary.BigEndian.PutUint32(salt[:], uint32(se.s.random()))
		got, err := se.askPassword(b, &pgproto3.AuthenticationMD5Password{Salt: salt}, pgproto3.AuthTypeMD5Password)
		if err != nil {
			return err
		}
		want := "md5" + md5Hex(md5Hex(password+se.user)+string(salt[:]))
		if !known || !hmac.Equal([]byte(got), []byte(want)) {
			return errPassword()
		}
	case AuthSCRAM:
		return se.scram(b, password, known)
	}
	return nil
}

func errPassword() error { return failf("28P01", "invalid password") }

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// ask sends an authentication request and waits for the reply.
func (se *session) ask(b *pgproto3.Backend, request pgproto3.BackendMessage, kind uint32) (pgproto3.FrontendMessage, error) {
	se.send(request)
	if err := se.flush(); err != nil {
		return nil, err
	}
	if err := b.SetAuthType(kind); err != nil {
		return nil, failf("XX000", "internal error: %s", err)
	}
	msg, err := b.Receive()
	if err != nil {
		return nil, errGone
	}
	return msg, nil
}

func (se *session) askPassword(b *pgproto3.Backend, request pgproto3.BackendMessage, kind uint32) (string, error) {
	msg, err := se.ask(b, request, kind)
	if err != nil {
		return "", err
	}
	p, ok := msg.(*pgproto3.PasswordMessage)
	if !ok {
		return "", failf("28000", "expected Password message")
	}
	return p.Password, nil
}

const scramIterations = 4096

// scram is SCRAM-SHA-256 (RFC 5802) without channel binding, from the server's side.
func (se *session) scram(b *pgproto3.Backend, password string, known bool) error {
	msg, err := se.ask(b, &pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}, pgproto3.AuthTypeSASL)
	if err != nil {
		return err
	}
	initial, ok := msg.(*pgproto3.SASLInitialResponse)
	if !ok {
		return failf("28000", "expected SASLInitialResponse message")
	}
	if initial.AuthMechanism != "SCRAM-SHA-256" {
		return failf("28000", "unsupported SASL mechanism")
	}
	first := string(initial.Data)
	gs2, bare, ok := cutGS2(first)
	if !ok {
		return failf("08P01", "malformed SCRAM message")
	}
	if strings.HasPrefix(gs2, "p=") {
		return failf("08P01", "channel binding not supported")
	}
	clientNonce := scramField(bare, 'r')
	if len(clientNonce) > 256 {
		return failf("28000", "nonce too long")
	}
	var seed [24]byte
	for i := 0; i < len(seed); i += 8 {
		binary.BigEndian.PutUint64(seed[i:], se.s.random())
	}
	salt := seed[:16]
	nonce := clientNonce + base64.StdEncoding.EncodeToString(seed[6:])
	serverFirst := "r=" + nonce + ",s=" + base64.StdEncoding.EncodeToString(salt) + ",i=" + strconv.Itoa(scramIterations)
	msg, err = se.ask(b, &pgproto3.AuthenticationSASLContinue{Data: []byte(serverFirst)}, pgproto3.AuthTypeSASLContinue)
	if err != nil {
		return err
	}
	final, ok := msg.(*pgproto3.SASLResponse)
	if !ok {
		return failf("28000", "expected SASLResponse message")
	}
	serverSignature, err := checkProof(string(final.Data), bare, serverFirst, nonce, gs2, password, salt)
	if err != nil || !known {
		return errPassword()
	}
	se.send(&pgproto3.AuthenticationSASLFinal{Data: []byte("v=" + base64.StdEncoding.EncodeToString(serverSignature))})
	return nil
}

// cutGS2 splits "n,,n=,r=…" into "n,," and the rest.
func cutGS2(first string) (gs2, bare string, ok bool) {
	i := strings.IndexByte(first, ',')
	if i < 0 {
		return "", "", false
	}
	j := strings.IndexByte(first[i+1:], ',')
	if j < 0 {
		return "", "", false
	}
	return first[:i+j+2], first[i+j+2:], true
}

func scramField(message string, name byte) string {
	for part := range strings.SplitSeq(message, ",") {
		if len(part) > 2 && part[0] == name && part[1] == '=' {
			return part[2:]
		}
	}
	return ""
}

// checkProof verifies the client's last message and gives the server's signature.
func checkProof(final, clientFirst, serverFirst, nonce, gs2, password string, salt []byte) ([]byte, error) {
	withoutProof, proofText, ok := strings.Cut(final, ",p=")
	proof, err := base64.StdEncoding.DecodeString(proofText)
	if !ok || err != nil || len(proof) != sha256.Size || scramField(final, 'r') != nonce ||
		scramField(final, 'c') != base64.StdEncoding.EncodeToString([]byte(gs2)) {
		return nil, errPassword()
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, scramIterations, sha256.Size)
	if err != nil {
		return nil, err
	}
	auth := clientFirst + "," + serverFirst + "," + withoutProof
	clientKey := sum(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	signature := sum(stored[:], auth)
	for i := range proof {
		proof[i] ^= signature[i]
	}
	if !hmac.Equal(proof, clientKey) {
		return nil, errPassword()
	}
	return sum(sum(salted, "Server Key"), auth), nil
}

func sum(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
