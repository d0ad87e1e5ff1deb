package deploy

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestEveryReadKeepsTheCalm: a method that is added to Warehouse and not to
// calmWarehouse would ask the server while sessions wait. The transaction of the
// swap is the holder's own.
func TestEveryReadKeepsTheCalm(t *testing.T) {
	src, err := os.ReadFile("calm.go")
	if err != nil {
		t.Fatal(err)
	}
	of := reflect.TypeFor[Warehouse]()
	for i := range of.NumMethod() {
		name := of.Method(i).Name
		if kept := strings.Contains(string(src), "func (w calmWarehouse) "+name+"("); kept == (name == "Prepare") {
			t.Errorf("%s: kept calm %t", name, kept)
		}
	}
}
