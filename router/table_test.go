package router

import (
	"sync"
	"testing"
)

func TestTableUpdates(t *testing.T) {
	table := NewTable([]Deployment{shop(), ads()})
	before := table.Load()
	epoch, ok := table.Update("ads", func(d *Deployment) { d.Weight = 2500 })
	if !ok || epoch != before.Epoch+1 || table.Load().Epoch != epoch {
		t.Errorf("epoch %d, %v", epoch, ok)
	}
	if before.Find("ads").Weight != 0 || table.Load().Find("ads").Weight != 2500 || table.Load().Find("shop").Weight != 0 {
		t.Error("the update reached an old snapshot, or the wrong deployment, or nobody")
	}
	if epoch, ok := table.Update("nope", func(*Deployment) { t.Error("called for no deployment") }); ok || epoch != table.Load().Epoch {
		t.Errorf("a deployment that does not exist was updated to epoch %d", epoch)
	}
}

// Readers see whole updates only, in order, while writers write. Under -race.
func TestTableFromManyGoroutines(t *testing.T) {
	const writers, updates = 4, 500
	table := NewTable([]Deployment{shop(), ads()})
	done := make(chan struct{})
	var readers, writing sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			var last uint64
			dec := Decision{Deployment: "shop", Key: "c1"}
			for {
				select {
				case <-done:
					return
				default:
				}
				s := table.Load()
				if s.Epoch < last {
					t.Errorf("epoch %d after %d", s.Epoch, last)
					return
				}
				last = s.Epoch
				// Every update keeps both deployments at one count and weight.
				a := s.Find("shop")
				if a.Swaps != uint64(a.Weight) {
					t.Errorf("half an update: %d swaps at weight %d", a.Swaps, a.Weight)
					return
				}
				a.Target(&dec, a.Arm(&dec))
			}
		})
	}
	for range writers {
		writing.Go(func() {
			for range updates {
				table.Update("shop", func(d *Deployment) { d.Swaps++; d.Weight++ })
			}
		})
	}
	writing.Wait()
	close(done)
	readers.Wait()
	if s := table.Load(); s.Epoch != 1+writers*updates || s.Find("shop").Swaps != writers*updates {
		t.Errorf("epoch %d and %d swaps after %d updates", s.Epoch, s.Find("shop").Swaps, writers*updates)
	}
}
