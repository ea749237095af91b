package vault

// LowerRune is the mapping of lower@1.
var LowerRune = lowerRune
