package router

import "math/bits"

// Hash places a unit on the circle: 64 uniform bits from the rollout's salt and
// the unit's key. FNV-1a alone leaves the high bits of short keys correlated,
// so its result goes through MurmurHash3's 64-bit finaliser (public domain,
// constants from its author's reference).
func Hash(salt uint64, key string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset) ^ salt
	h *= prime
	for i := 0; i < len(key); i++ {
		h ^= uint64(key[i])
		h *= prime
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return h
}

// PickAt says which arm a unit is on at a weight: canary if and only if its
// hash, read as a number in [0,1), lies below the weight. Raising the weight
// therefore only adds units to the canary, and lowering it takes back those that
// were added last.
func PickAt(hash uint64, w Weight) Arm {
	if w >= Full {
		return Canary
	}
	// hash/2^64 < w/10000, without rounding: hash*10000 < w*2^64.
	high, _ := bits.Mul64(hash, uint64(Full))
	if high < uint64(w) {
		return Canary
	}
	return Stable
}
