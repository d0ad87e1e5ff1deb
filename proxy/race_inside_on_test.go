//go:build race

package proxy

const raceInside = true
