
Bx1Jf*